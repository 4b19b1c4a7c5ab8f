// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {Grant, pack} from "../../src/Grant.sol";
import {IFlyTrap} from "../../src/IFlyTrap.sol";
import {
    Action,
    Decision,
    FEE_DELAY,
    FOREVER,
    Fees,
    GrantInput,
    Mode,
    Offer,
    Space,
    Terms,
    Why
} from "../../src/Types.sol";
import {ITrap} from "./ITrap.sol";
import {vm} from "./Vm.sol";

/// A contract with one space, `plant`, of alice, and everybody who matters.
abstract contract Base {
    uint64 internal constant START = 1_800_000_000;
    uint64 internal constant ADMIN_DELAY = 2 days;
    uint32 internal constant MONTH = 30 days;

    address internal admin = address(0xAD);
    address internal treasurer = address(0x7EA5);
    address internal guardian = address(0x60A);
    address internal gateway = address(0x6A7E);
    address internal alice = address(0xA11CE);
    address internal bob = address(0xB0B);
    address internal carol = address(0xCA401);

    ITrap internal trap;
    bytes32 internal plant;

    function setUp() public virtual {
        vm.warp(START);
        trap = deploy(creation());
        role("GATEWAY", gateway);
        role("TREASURER", treasurer);
        role("GUARDIAN", guardian);
        plant = register(admin, 0, "plant", alice);
        vm.deal(alice, 100 ether);
        vm.deal(bob, 100 ether);
        vm.deal(carol, 100 ether);
    }

    /// What a deployment sends.
    function creation() internal view returns (bytes memory) {
        return bytes.concat(vm.getCode("FlyTrap.sol:FlyTrap"), abi.encode(admin, ADMIN_DELAY));
    }

    function deploy(bytes memory code) internal returns (ITrap made) {
        assembly ("memory-safe") {
            made := create(0, add(code, 0x20), mload(code))
        }
        require(address(made) != address(0), "deployment failed");
    }

    function role(string memory name, address account) internal {
        vm.prank(admin);
        trap.grantRole(keccak256(bytes(name)), account);
    }

    // ---------------------------------------------------------------- short ways to call

    function labels(string memory a) internal pure returns (string[] memory path) {
        path = new string[](1);
        path[0] = a;
    }

    function labels(string memory a, string memory b, string memory c) internal pure returns (string[] memory path) {
        path = new string[](3);
        (path[0], path[1], path[2]) = (a, b, c);
    }

    function register(address as_, bytes32 parent, string memory label, address owner) internal returns (bytes32) {
        Terms memory closed;
        vm.prank(as_);
        return trap.register(parent, labels(label), owner, closed);
    }

    function terms(Mode publish, Mode subscribe) internal pure returns (Terms memory t) {
        t.publish = publish;
        t.subscribe = subscribe;
    }

    function priced(uint88 price, uint32 period) internal pure returns (Terms memory t) {
        t = terms(Mode.Priced, Mode.Priced);
        (t.publishPrice, t.subscribePrice) = (price, price);
        (t.publishPeriod, t.subscribePeriod) = (period, period);
    }

    function setTerms(bytes32 node, Terms memory t) internal {
        vm.prank(ownerOf(node));
        trap.setTerms(node, t);
    }

    function input(address wallet, uint64 publishUntil, uint64 subscribeUntil, uint8 flags)
        internal
        pure
        returns (GrantInput[] memory one)
    {
        one = new GrantInput[](1);
        one[0] = GrantInput(wallet, pack(publishUntil, subscribeUntil, flags, 7), keccak256("salt, reason"));
    }

    function grant(address as_, bytes32 node, address wallet, uint64 publishUntil, uint64 subscribeUntil, uint8 flags)
        internal
    {
        vm.prank(as_);
        trap.grantRights(node, input(wallet, publishUntil, subscribeUntil, flags));
    }

    function buy(address as_, bytes32 node, Action action, uint32 periods) internal returns (uint64) {
        (uint256 total,, bytes32 hash) = trap.quote(node, action, periods);
        vm.prank(as_);
        return trap.buy{value: total}(node, as_, action, periods, hash, total);
    }

    function setFees(uint96 create, uint96 publish, uint16 saleBps) internal {
        Fees memory fees = Fees(create, publish, MONTH, saleBps);
        vm.prank(treasurer);
        trap.proposeFees(fees);
        uint64 notBefore = uint64(block.timestamp) + FEE_DELAY;
        vm.warp(notBefore);
        trap.applyFees(fees, notBefore);
    }

    // ---------------------------------------------------------------- short ways to look

    function ownerOf(bytes32 node) internal view returns (address) {
        (Space memory space,,) = trap.space(node);
        return space.owner;
    }

    function ask(address wallet, Action action, string memory topic) internal view returns (Decision memory) {
        return trap.allowed(wallet, action, topic, false);
    }

    function checkDenied(address wallet, Action action, string memory topic, Why why) internal view {
        Decision memory d = ask(wallet, action, topic);
        vm.assertTrue(!d.permitted && d.until == 0, string.concat("is permitted: ", topic));
        vm.assertEq(uint256(d.why), uint256(why), string.concat("reason: ", topic));
    }

    function checkPermitted(address wallet, Action action, string memory topic, Why why, uint64 until) internal view {
        Decision memory d = ask(wallet, action, topic);
        vm.assertTrue(d.permitted, string.concat("is denied: ", topic));
        vm.assertEq(uint256(d.why), uint256(why), string.concat("reason: ", topic));
        vm.assertEq(d.until, until, string.concat("until: ", topic));
    }

    function checkGrant(bytes32 node, address wallet, uint64 publishUntil, uint64 subscribeUntil, uint8 flags)
        internal
        view
    {
        (, uint64 p, uint64 s, uint8 f) = trap.grantOf(node, wallet);
        vm.assertEq(p, publishUntil, "publishUntil");
        vm.assertEq(s, subscribeUntil, "subscribeUntil");
        vm.assertEq(f, flags, "flags");
    }

    /// The number that the next event gets.
    function nextSeq() internal view returns (uint64 seq) {
        (, seq) = trap.head();
        ++seq;
    }

    function refused(bytes32 node, address account) internal pure returns (bytes memory) {
        return abi.encodeWithSelector(IFlyTrap.NotPermitted.selector, node, account);
    }
}
