// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {packFacts} from "../src/BanFacts.sol";
import {pack} from "../src/Grant.sol";
import {Action, Ban, FOREVER, GrantInput, Mode, Summary, Terms} from "../src/Types.sol";
import {Base} from "./base/Base.sol";
import {Vm, vm} from "./base/Vm.sol";

/// What each transaction costs, base fee of 21,000 and call data included: forge runs this file with --isolate, and
/// `snapshots/Gas.json` holds the figures.
contract GasTest is Base {
    bytes32 private constant SALT = keccak256("salt, reason");
    bytes32 private shop;

    function setUp() public override {
        super.setUp();
        shop = register(alice, plant, "shop", alice);
        setTerms(shop, priced(1 gwei, MONTH));
        // The first event of all pays for the slot of the head; it is long over.
        buy(carol, shop, Action.Subscribe, 1);
        grant(alice, shop, carol, FOREVER, 0, 0);
    }

    function snap(string memory name) private {
        vm.snapshotValue("Gas", name, used());
    }

    /// What the receipt would say. Refunds are capped at a fifth.
    function used() private view returns (uint256) {
        Vm.Gas memory gas = vm.lastCallGas();
        uint256 refund = uint256(int256(gas.gasRefunded));
        uint256 cap = gas.gasTotalUsed / 5;
        return gas.gasTotalUsed - (refund < cap ? refund : cap);
    }

    function test_gas_deploy() public {
        bytes memory data = creation();
        uint256 intrinsic = 21_000;
        for (uint256 i = 0; i < data.length; ++i) {
            intrinsic += data[i] == 0 ? 4 : 16;
        }
        // Inside a call: forge counts a creation of its own, made with --isolate, twice over.
        vm.snapshotValue("Gas", "deploy", intrinsic + new Deployer().deploy(data));
    }

    function test_gas_register() public {
        string[] memory path = labels("line1");
        Terms memory t = priced(0.001 ether, MONTH);
        vm.prank(alice);
        trap.register(plant, path, alice, t);
        snap("register with prices");
    }

    function test_gas_grant() public {
        grant(alice, plant, bob, START + 365 days, START + 365 days, 4);
        snap("grant publish and subscribe");
        GrantInput[] memory many = new GrantInput[](100);
        for (uint160 i = 0; i < 100; ++i) {
            address wallet = address(uint160(uint256(keccak256(abi.encode(i)))));
            many[i] = GrantInput(wallet, pack(START + 365 days, START + 365 days, 4, 7), SALT);
        }
        vm.prank(alice);
        trap.grantRights(plant, many);
        vm.snapshotValue("Gas", "100 grants in one batch, each", used() / 100);
    }

    function test_gas_revoke() public {
        grant(alice, plant, bob, START + 365 days, START + 365 days, 4);
        vm.prank(alice);
        trap.revoke(plant, bob, 7, SALT);
        snap("revoke");
        grant(alice, shop, bob, START + 365 days, START + 365 days, 4);
        vm.prank(alice);
        trap.revoke(shop, bob, 7, SALT);
        snap("revoke, with a denial that stays");
    }

    function test_gas_buy() public {
        buy(bob, shop, Action.Subscribe, 1);
        snap("buy subscribe, first");
        buy(bob, shop, Action.Subscribe, 1);
        snap("buy subscribe, renewal");
    }

    function test_gas_anchor() public {
        Summary[] memory none = new Summary[](0);
        vm.prank(gateway);
        trap.anchor(1, SALT, 1000, START - 3600, START, none);
        vm.warp(START + 7200);
        vm.prank(gateway);
        trap.anchor(2, SALT, 1000, START, START + 3600, none);
        snap("anchor");
        Summary[] memory one = new Summary[](1);
        one[0] = Summary(plant, 12, 3456, 7, SALT);
        vm.prank(gateway);
        trap.anchor(3, SALT, 1000, START + 3600, START + 7200, one);
        snap("anchor, with one summary");
    }

    function test_gas_ban() public {
        Ban[] memory bans = new Ban[](1);
        bans[0] = Ban(address(0), packFacts(uint40(START + 1 days), 0, 3, 128), SALT, SALT);
        vm.prank(gateway);
        trap.reportBans(bans);
        snap("ban report, address");
        bans[0].wallet = bob;
        vm.prank(gateway);
        trap.reportBans(bans);
        snap("ban report, address and wallet");
    }

    function test_gas_wallets() public {
        bytes memory key = abi.encodePacked(bytes1(0x02), SALT);
        vm.prank(bob);
        trap.setDeviceKey(5, FOREVER, key, 0);
        snap("set a device key");
        vm.prank(bob);
        trap.removeDeviceKey(5, key);
        snap("remove a device key");
        vm.prank(bob);
        trap.revokeTokensBefore(START + 121);
        snap("revoke tokens");
    }
}

contract Deployer {
    function deploy(bytes memory data) external returns (uint256 gas) {
        address made;
        gas = gasleft();
        assembly ("memory-safe") {
            made := create(0, add(data, 0x20), mload(data))
        }
        gas -= gasleft();
        require(made != address(0), "deployment failed");
    }
}
