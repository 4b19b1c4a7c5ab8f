// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";

import {BanFacts, packFacts} from "../src/BanFacts.sol";
import {IFlyTrap} from "../src/IFlyTrap.sol";
import {Ban, MAX_BAN, MAX_SKEW, Summary} from "../src/Types.sol";
import {Base} from "./base/Base.sol";
import {vm} from "./base/Vm.sol";

/// Bans and anchors.
contract GatewaysTest is Base {
    bytes32 private constant TARGET = keccak256("salt, address");
    bytes32 private constant ROOT = keccak256("root");

    function ban(address wallet, uint40 until, uint8 prefixLength, bytes32 target)
        private
        pure
        returns (Ban[] memory b)
    {
        b = new Ban[](1);
        b[0] = Ban(wallet, packFacts(until, 77, 9, prefixLength), target, keccak256("evidence"));
    }

    function report(Ban[] memory bans) private {
        vm.prank(gateway);
        trap.reportBans(bans);
    }

    function test_a_gateway_reports_bans_each_with_its_number() public {
        Ban[] memory bans = new Ban[](2);
        bans[0] = ban(bob, uint40(START + 1), 0, 0)[0];
        bans[1] = ban(address(0), uint40(START + MAX_BAN), 128, TARGET)[0];
        vm.assertEq(BanFacts.unwrap(bans[1].facts), uint256(START + MAX_BAN) << 56 | 77 << 24 | 9 << 8 | 128, "layout");
        for (uint64 i = 0; i < 2; ++i) {
            vm.expectEmit();
            emit IFlyTrap.BanReported(nextSeq() + i, gateway, bans[i]);
        }
        report(bans);
    }

    function test_nobody_else_reports() public {
        Ban[] memory bans = ban(bob, uint40(START + 1), 0, 0);
        address[5] memory others = [bob, admin, guardian, treasurer, alice];
        for (uint256 i = 0; i < others.length; ++i) {
            vm.expectRevert(
                abi.encodeWithSelector(
                    IAccessControl.AccessControlUnauthorizedAccount.selector, others[i], keccak256("GATEWAY")
                )
            );
            vm.prank(others[i]);
            trap.reportBans(bans);
        }
    }

    function test_bans_have_an_end_an_aim_and_a_prefix() public {
        vm.assertEq(MAX_BAN, 30 days, "longest");
        bytes memory no = abi.encodeWithSelector(IFlyTrap.BadBan.selector, 0);
        vm.expectRevert(no);
        report(ban(bob, uint40(START), 0, 0));
        vm.expectRevert(no);
        report(ban(bob, uint40(START + MAX_BAN + 1), 0, 0));
        vm.expectRevert(no);
        report(ban(address(0), uint40(START + 1), 0, 0));
        vm.expectRevert(no);
        report(ban(address(0), uint40(START + 1), 129, TARGET));
        Ban[] memory two = new Ban[](2);
        two[0] = ban(bob, uint40(START + 1), 0, 0)[0];
        vm.expectRevert(abi.encodeWithSelector(IFlyTrap.BadBan.selector, 1));
        report(two);
    }

    function test_the_reporter_and_guardians_lift() public {
        uint256[] memory numbers = new uint256[](2);
        (numbers[0], numbers[1]) = (5, 6);
        vm.expectEmit();
        emit IFlyTrap.BansLifted(nextSeq(), gateway, numbers, gateway);
        vm.prank(gateway);
        trap.liftBans(gateway, numbers);
        vm.expectEmit();
        emit IFlyTrap.BansLifted(nextSeq(), gateway, numbers, guardian);
        vm.prank(guardian);
        trap.liftBans(gateway, numbers);

        bytes memory no = abi.encodeWithSelector(IFlyTrap.NotYourBans.selector, gateway);
        role("GATEWAY", carol);
        address[3] memory others = [carol, bob, admin];
        for (uint256 i = 0; i < others.length; ++i) {
            vm.expectRevert(no);
            vm.prank(others[i]);
            trap.liftBans(gateway, numbers);
        }
        // Who isn't a gateway has none, and who was one lifts no more.
        vm.expectRevert(abi.encodeWithSelector(IFlyTrap.NotYourBans.selector, bob));
        vm.prank(bob);
        trap.liftBans(bob, numbers);
        vm.prank(admin);
        trap.revokeRole(keccak256("GATEWAY"), gateway);
        vm.expectRevert(no);
        vm.prank(gateway);
        trap.liftBans(gateway, numbers);
    }

    // ---------------------------------------------------------------- anchors

    function anchor(address as_, uint64 window, uint64 from, uint64 to) private {
        vm.prank(as_);
        trap.anchor(window, ROOT, 1000, from, to, new Summary[](0));
    }

    function test_windows_have_no_gap() public {
        vm.expectRevert(abi.encodeWithSelector(IFlyTrap.BadAnchor.selector, 1, 0));
        anchor(gateway, 2, START - 10, START);
        vm.expectRevert(abi.encodeWithSelector(IFlyTrap.BadAnchor.selector, 1, 0));
        anchor(gateway, 0, START - 10, START);
        Summary[] memory summaries = new Summary[](1);
        summaries[0] = Summary(plant, 1, 2, 3, ROOT);
        vm.expectEmit();
        emit IFlyTrap.Anchored(nextSeq(), gateway, 1, ROOT, 1000, START - 10, START - 5, summaries);
        vm.prank(gateway);
        trap.anchor(1, ROOT, 1000, START - 10, START - 5, summaries);
        (uint64 window, uint64 to) = trap.lastAnchor(gateway);
        vm.assertTrue(window == 1 && to == START - 5, "last");

        bytes memory no = abi.encodeWithSelector(IFlyTrap.BadAnchor.selector, 2, START - 5);
        uint64[4][6] memory bad = [
            [1, START - 5, START, 0],
            [3, START - 5, START, 0],
            [2, START - 6, START, 0],
            [2, START - 4, START, 0],
            [2, START - 5, START - 5, 0],
            [2, START - 5, START + MAX_SKEW + 1, 0]
        ];
        for (uint256 i = 0; i < bad.length; ++i) {
            vm.expectRevert(no);
            anchor(gateway, bad[i][0], bad[i][1], bad[i][2]);
        }
        anchor(gateway, 2, START - 5, START + MAX_SKEW);
        // Each gateway counts for itself.
        role("GATEWAY", carol);
        anchor(carol, 1, START - 1, START);
        vm.expectPartialRevert(IAccessControl.AccessControlUnauthorizedAccount.selector);
        anchor(bob, 1, START - 1, START);
    }

    // ---------------------------------------------------------------- inclusion

    function leaf(uint64 window, uint32 index, bytes32 record) private view returns (bytes32) {
        return keccak256(bytes.concat(keccak256(abi.encode(gateway, window, index, record))));
    }

    function pair(bytes32 a, bytes32 b) private pure returns (bytes32) {
        return a < b ? keccak256(abi.encode(a, b)) : keccak256(abi.encode(b, a));
    }

    function testFuzz_inclusion(bytes32[4] memory records, uint8 which, uint8 flip) public view {
        bytes32[4] memory leaves;
        for (uint32 i = 0; i < 4; ++i) {
            leaves[i] = leaf(3, i, records[i]);
        }
        bytes32 root = pair(pair(leaves[0], leaves[1]), pair(leaves[2], leaves[3]));
        uint32 index = which % 4;
        bytes32[] memory proof = new bytes32[](2);
        proof[0] = leaves[index ^ 1];
        proof[1] = index < 2 ? pair(leaves[2], leaves[3]) : pair(leaves[0], leaves[1]);
        bytes32 record = records[index];
        vm.assertTrue(trap.verifyInclusion(root, gateway, 3, index, record, proof), "included");
        // Every field counts.
        vm.assertTrue(!trap.verifyInclusion(~root, gateway, 3, index, record, proof), "root");
        vm.assertTrue(!trap.verifyInclusion(root, bob, 3, index, record, proof), "gateway");
        vm.assertTrue(!trap.verifyInclusion(root, gateway, 4, index, record, proof), "window");
        vm.assertTrue(!trap.verifyInclusion(root, gateway, 3, index ^ 1, record, proof), "index");
        bytes32 other = record ^ bytes32(uint256(1) << flip);
        vm.assertTrue(!trap.verifyInclusion(root, gateway, 3, index, other, proof), "record");
        proof[1] ^= bytes32(uint256(1));
        vm.assertTrue(!trap.verifyInclusion(root, gateway, 3, index, record, proof), "proof");
    }

    function test_an_inner_node_is_no_record() public view {
        bytes32 left = leaf(3, 0, "a");
        bytes32 root = pair(left, leaf(3, 1, "b"));
        bytes32[] memory proof = new bytes32[](1);
        proof[0] = leaf(3, 1, "b");
        vm.assertTrue(trap.verifyInclusion(root, gateway, 3, 0, "a", proof), "record");
        vm.assertTrue(!trap.verifyInclusion(root, gateway, 3, 0, left, proof), "leaf for a record");
        vm.assertTrue(!trap.verifyInclusion(root, gateway, 3, 0, root, new bytes32[](0)), "root for a record");
    }

    // ---------------------------------------------------------------- nothing else

    function test_a_gateway_has_no_other_power() public {
        bytes[12] memory calls = [
            abi.encodeCall(IFlyTrap.offerAdmin, (gateway)),
            abi.encodeCall(IFlyTrap.announceSuccessor, (gateway)),
            abi.encodeCall(IFlyTrap.setPaused, (true)),
            abi.encodeCall(IFlyTrap.sweep, (payable(gateway))),
            abi.encodeCall(IFlyTrap.withdraw, (payable(gateway))),
            abi.encodeCall(IFlyTrap.revoke, (plant, bob, 0, 0)),
            abi.encodeCall(IFlyTrap.grantRights, (plant, input(gateway, 1, 1, 0))),
            abi.encodeCall(IFlyTrap.startEpoch, (plant)),
            abi.encodeCall(IFlyTrap.offerOwnership, (plant, gateway)),
            abi.encodeCall(IFlyTrap.startReclaim, (plant, gateway)),
            abi.encodeCall(IFlyTrap.stopReclaim, (plant)),
            abi.encodeCall(IAccessControl.grantRole, (keccak256("GATEWAY"), bob))
        ];
        for (uint256 i = 0; i < calls.length; ++i) {
            vm.prank(gateway);
            (bool ok,) = address(trap).call(calls[i]);
            vm.assertTrue(!ok, "has power");
        }
    }
}
