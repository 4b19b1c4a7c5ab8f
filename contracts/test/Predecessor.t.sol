// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";

import {packFacts} from "../src/BanFacts.sol";
import {SUBTREE} from "../src/Grant.sol";
import {IFlyTrap} from "../src/IFlyTrap.sol";
import {Action, Ban, FOREVER, Mode, Summary, Terms, Why} from "../src/Types.sol";
import {Base} from "./base/Base.sol";
import {Wallet} from "./base/Owners.sol";
import {Vm, vm} from "./base/Vm.sol";

/// The predecessor's holes: each of them is tried here and must not be there.
contract PredecessorTest is Base {
    function test_nobody_forges_the_log() public {
        vm.expectRevert(
            abi.encodeWithSelector(IAccessControl.AccessControlUnauthorizedAccount.selector, bob, keccak256("GATEWAY"))
        );
        vm.prank(bob);
        trap.anchor(1, keccak256("forged"), 1, 0, START, new Summary[](0));
        // And no gateway writes in another's name: `gateway` is who called.
        role("GATEWAY", carol);
        vm.expectEmit();
        emit IFlyTrap.Anchored(nextSeq(), carol, 1, keccak256("own"), 1, 0, START, new Summary[](0));
        vm.prank(carol);
        trap.anchor(1, keccak256("own"), 1, 0, START, new Summary[](0));
    }

    function test_nobody_registers_the_wildcard() public {
        Terms memory t;
        vm.expectRevert(abi.encodeWithSelector(IFlyTrap.BadLabel.selector, 0));
        register(bob, 0, "#", bob);
        // Not even who may register, in no place and in no way.
        vm.expectRevert(abi.encodeWithSelector(IFlyTrap.BadLabel.selector, 0));
        register(admin, 0, "#", admin);
        vm.expectRevert(abi.encodeWithSelector(IFlyTrap.BadLabel.selector, 0));
        register(alice, plant, "#", alice);
        vm.expectRevert(abi.encodeWithSelector(IFlyTrap.BadLabelHash.selector, keccak256("#")));
        vm.prank(admin);
        trap.registerHash(0, keccak256("#"), admin, t);
    }

    function test_price_0_is_not_owner_only() public {
        setTerms(plant, priced(0, MONTH));
        buy(bob, plant, Action.Publish, 1);
        checkPermitted(bob, Action.Publish, "plant/x", Why.Grant, START + MONTH);
        setTerms(plant, terms(Mode.Open, Mode.Closed));
        checkPermitted(carol, Action.Publish, "plant/x", Why.Open, FOREVER);
    }

    function test_no_ether_is_locked_in_a_free_space() public {
        setTerms(plant, priced(0, MONTH));
        (,, bytes32 hash) = trap.quote(plant, Action.Publish, 1);
        vm.expectRevert(abi.encodeWithSelector(IFlyTrap.WrongValue.selector, 0, 1 ether));
        vm.prank(bob);
        trap.buy{value: 1 ether}(plant, bob, Action.Publish, 1, hash, 1 ether);
        vm.prank(bob);
        (bool taken,) = address(trap).call{value: 1 ether}("");
        vm.assertTrue(!taken && address(trap).balance == 0, "locked");
    }

    function test_contract_wallets_are_paid() public {
        Wallet owner = new Wallet();
        bytes32 node = register(alice, plant, "shop", address(owner));
        setTerms(node, priced(1 ether, MONTH));
        buy(bob, node, Action.Publish, 1);
        vm.assertEq(address(owner).balance, 1 ether, "paid");
    }

    function test_a_revoked_wallet_can_not_pay_again() public {
        setTerms(plant, priced(1 ether, MONTH));
        buy(bob, plant, Action.Publish, 1);
        vm.prank(alice);
        trap.revoke(plant, bob, 1, 0);
        Action[2] memory actions = [Action.Publish, Action.Subscribe];
        for (uint256 i = 0; i < 2; ++i) {
            (,, bytes32 hash) = trap.quote(plant, actions[i], 1);
            vm.expectRevert(abi.encodeWithSelector(IFlyTrap.Denied.selector, plant, bob));
            vm.prank(bob);
            trap.buy{value: 1 ether}(plant, bob, actions[i], 1, hash, 1 ether);
        }
        // Not in the next epoch either, until the owner thinks better of it.
        vm.prank(alice);
        trap.startEpoch(plant);
        (,, bytes32 next) = trap.quote(plant, Action.Publish, 1);
        vm.expectRevert(abi.encodeWithSelector(IFlyTrap.Denied.selector, plant, bob));
        vm.prank(bob);
        trap.buy{value: 1 ether}(plant, bob, Action.Publish, 1, next, 1 ether);
        grant(alice, plant, bob, 0, 0, 0);
        buy(bob, plant, Action.Publish, 1);
    }

    function test_more_than_one_country() public {
        uint256[3] memory map;
        map[0] = 1 << (3 * 26 + 4) | 1 << (5 * 26 + 17); // DE, FR
        bytes32 id = trap.storeCountryPolicy(true, map);
        Terms memory t;
        t.countryPolicy = id;
        setTerms(plant, t);
        bytes32 policy = ask(bob, Action.Publish, "plant/x").countryPolicy;
        vm.assertTrue(trap.countryAllowed(policy, "DE") && trap.countryAllowed(policy, "FR"), "allowed");
        vm.assertTrue(!trap.countryAllowed(policy, "IT"), "kept out");
    }

    function test_prices_are_not_for_ever() public {
        setTerms(plant, priced(1 ether, MONTH));
        setTerms(plant, priced(2 ether, MONTH));
        (uint256 total,,) = trap.quote(plant, Action.Publish, 1);
        vm.assertEq(total, 2 ether, "new price");
    }

    /// Addresses and reasons go in as 32 bytes only, so there is no room for them in clear; and the events of a full
    /// round hold no text but the labels that were meant to be seen.
    function test_nothing_personal_is_in_clear() public {
        bytes32 address_ = keccak256(abi.encode("salt", "192.0.2.7"));
        bytes32 reason = keccak256(abi.encode("salt", "stole the lamp"));
        vm.recordLogs();
        Ban[] memory bans = new Ban[](1);
        bans[0] = Ban(address(0), packFacts(uint40(START + 1), 0, 4, 128), address_, keccak256("evidence"));
        vm.prank(gateway);
        trap.reportBans(bans);
        vm.prank(alice);
        trap.grantRights(plant, input(bob, FOREVER, 0, SUBTREE));
        vm.prank(alice);
        trap.revoke(plant, bob, 3, reason);
        vm.prank(alice);
        trap.registerHash(plant, keccak256("alice's bedroom"), alice, terms(Mode.Closed, Mode.Closed));
        Vm.Log[] memory logs = vm.getRecordedLogs();
        string[3] memory secrets = ["192.0.2.7", "stole", "bedroom"];
        for (uint256 i = 0; i < logs.length; ++i) {
            for (uint256 s = 0; s < 3; ++s) {
                vm.assertTrue(!contains(logs[i].data, bytes(secrets[s])), secrets[s]);
            }
        }
        vm.assertEq(logs.length, 5, "all events");
    }

    function contains(bytes memory all, bytes memory part) private pure returns (bool) {
        for (uint256 i = 0; i + part.length <= all.length; ++i) {
            uint256 n = 0;
            while (n < part.length && all[i + n] == part[n]) ++n;
            if (n == part.length) return true;
        }
        return false;
    }
}
