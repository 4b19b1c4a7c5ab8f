// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";

import {DELEGATE_GRANT, DELEGATE_REGISTER, DENY_SUBSCRIBE, SUBTREE} from "../src/Grant.sol";
import {IFlyTrap} from "../src/IFlyTrap.sol";
import {Action, FOREVER, Mode, Offer, RECLAIM_DELAY, Space, Terms, Why} from "../src/Types.sol";
import {Base} from "./base/Base.sol";
import {vm} from "./base/Vm.sol";

/// Terms, epochs, open publishing, countries, ownership.
contract TermsTest is Base {
    function test_the_owner_changes_all_terms_and_nobody_else() public {
        Terms memory t = Terms(Mode.Priced, Mode.Open, true, 1, 2, 3, 4, 0);
        vm.expectEmit();
        emit IFlyTrap.TermsSet(nextSeq(), plant, t, 0);
        setTerms(plant, t);
        (Space memory space, Offer memory offer, bytes32 policy) = trap.space(plant);
        vm.assertTrue(space.sensitive && policy == 0, "flags");
        vm.assertTrue(offer.publish == Mode.Priced && offer.subscribe == Mode.Open, "modes");
        vm.assertTrue(offer.publishPrice == 1 && offer.subscribePrice == 2, "prices");
        vm.assertTrue(offer.publishPeriod == 3 && offer.subscribePeriod == 4, "periods");

        vm.expectRevert(refused(plant, bob));
        vm.prank(bob);
        trap.setTerms(plant, t);
        // Not even a delegate, nor the administrator.
        grant(alice, plant, bob, 0, 0, DELEGATE_GRANT | DELEGATE_REGISTER);
        vm.expectRevert(refused(plant, bob));
        vm.prank(bob);
        trap.setTerms(plant, t);
        vm.expectRevert(refused(plant, admin));
        vm.prank(admin);
        trap.setTerms(plant, t);

        setTerms(plant, terms(Mode.Closed, Mode.Closed));
        (space, offer,) = trap.space(plant);
        vm.assertTrue(!space.sensitive && offer.publish == Mode.Closed && offer.publishPrice == 0, "back");
    }

    function test_terms_take_no_money_that_is_not_due() public {
        vm.expectRevert(abi.encodeWithSelector(IFlyTrap.WrongValue.selector, 0, 1));
        vm.prank(alice);
        trap.setTerms{value: 1}(plant, terms(Mode.Closed, Mode.Open));
    }

    // ---------------------------------------------------------------- epochs

    function test_an_epoch_ends_grants_and_delegates_and_leaves_denials() public {
        grant(alice, plant, bob, FOREVER, START + 1000, SUBTREE | DELEGATE_GRANT | DELEGATE_REGISTER);
        grant(alice, plant, carol, FOREVER, FOREVER, SUBTREE | DENY_SUBSCRIBE);
        vm.expectEmit();
        emit IFlyTrap.EpochStarted(nextSeq(), plant, 1);
        vm.prank(alice);
        trap.startEpoch(plant);

        checkGrant(plant, bob, 0, 0, SUBTREE);
        checkGrant(plant, carol, 0, 0, SUBTREE | DENY_SUBSCRIBE);
        checkDenied(bob, Action.Publish, "plant/x", Why.NotGranted);
        checkDenied(carol, Action.Publish, "plant/x", Why.NotGranted);
        checkDenied(carol, Action.Subscribe, "plant/x", Why.Denied);
        vm.expectRevert(refused(plant, bob));
        register(bob, plant, "x", alice);
        vm.expectRevert(refused(plant, bob));
        grant(bob, plant, bob, FOREVER, 0, 0);
        // What is granted now holds.
        grant(alice, plant, bob, FOREVER, 0, SUBTREE);
        checkPermitted(bob, Action.Publish, "plant/x", Why.Grant, FOREVER);

        vm.expectRevert(refused(plant, bob));
        vm.prank(bob);
        trap.startEpoch(plant);
    }

    function test_buying_one_right_in_a_new_epoch_does_not_revive_the_other() public {
        setTerms(plant, priced(0, 60));
        grant(alice, plant, bob, FOREVER, FOREVER, SUBTREE | DELEGATE_GRANT);
        vm.prank(alice);
        trap.startEpoch(plant);
        buy(bob, plant, Action.Subscribe, 1);
        checkGrant(plant, bob, 0, START + 60, SUBTREE);
    }

    // ---------------------------------------------------------------- open publishing

    function test_open_publishing_without_a_fee_has_no_end() public {
        setTerms(plant, terms(Mode.Open, Mode.Closed));
        checkPermitted(bob, Action.Publish, "plant/x", Why.Open, FOREVER);
        checkDenied(bob, Action.Subscribe, "plant/x", Why.NotGranted);
        // Later fees are for what is opened later.
        setFees(0, 1 ether, 0);
        setTerms(plant, terms(Mode.Open, Mode.Closed));
        checkPermitted(bob, Action.Publish, "plant/x", Why.Open, FOREVER);
    }

    function test_open_publishing_is_paid_for_each_period() public {
        setFees(0, 1 ether, 0);
        uint64 begin = uint64(block.timestamp);
        Terms memory open = terms(Mode.Open, Mode.Open);
        vm.expectRevert(abi.encodeWithSelector(IFlyTrap.WrongValue.selector, 1 ether, 0));
        vm.prank(alice);
        trap.setTerms(plant, open);
        vm.prank(alice);
        trap.setTerms{value: 1 ether}(plant, open);
        checkPermitted(bob, Action.Publish, "plant/x", Why.Open, begin + MONTH);
        // Subscribing costs the broker's owner nothing.
        checkPermitted(bob, Action.Subscribe, "plant/x", Why.Open, FOREVER);
        // Paid is paid: closing and opening again costs nothing within the period.
        setTerms(plant, terms(Mode.Closed, Mode.Open));
        checkDenied(bob, Action.Publish, "plant/x", Why.NotGranted);
        setTerms(plant, open);

        vm.expectRevert(abi.encodeWithSelector(IFlyTrap.WrongValue.selector, 2 ether, 1 ether));
        vm.prank(bob);
        trap.keepOpen{value: 1 ether}(plant, 2);
        vm.expectEmit();
        emit IFlyTrap.OpenKept(nextSeq(), plant, uint40(begin + 3 * uint64(MONTH)), bob, 2 ether);
        vm.prank(bob);
        trap.keepOpen{value: 2 ether}(plant, 2);
        vm.warp(begin + 3 * uint64(MONTH) - 1);
        checkPermitted(bob, Action.Publish, "plant/x", Why.Open, begin + 3 * uint64(MONTH));
        vm.warp(begin + 3 * uint64(MONTH));
        checkDenied(bob, Action.Publish, "plant/x", Why.NotGranted);
        checkPermitted(bob, Action.Subscribe, "plant/x", Why.Open, FOREVER);
        // Run out, it begins anew from now.
        vm.warp(begin + 4 * uint64(MONTH));
        vm.prank(alice);
        trap.setTerms{value: 1 ether}(plant, open);
        checkPermitted(bob, Action.Publish, "plant/x", Why.Open, begin + 5 * uint64(MONTH));
        vm.assertEq(address(trap).balance, 4 ether, "fees");
    }

    function test_openness_can_be_kept_for_so_long_that_it_has_no_end() public {
        setFees(0, 1, 0);
        vm.prank(bob);
        trap.keepOpen{value: type(uint32).max}(plant, type(uint32).max);
        setTerms(plant, terms(Mode.Open, Mode.Closed));
        checkPermitted(bob, Action.Publish, "plant/x", Why.Open, FOREVER);
    }

    function test_keeping_open_takes_a_space_and_a_period() public {
        vm.expectRevert(abi.encodeWithSelector(IFlyTrap.BadPeriods.selector, 0));
        trap.keepOpen(plant, 0);
        vm.expectRevert(abi.encodeWithSelector(IFlyTrap.NotRegistered.selector, bytes32(uint256(1))));
        trap.keepOpen(bytes32(uint256(1)), 1);
    }

    function test_registering_an_open_space_pays_the_fee() public {
        setFees(0, 1 ether, 0);
        string[] memory x = labels("x");
        vm.expectRevert(abi.encodeWithSelector(IFlyTrap.WrongValue.selector, 1 ether, 0));
        vm.prank(alice);
        trap.register(plant, x, alice, terms(Mode.Open, Mode.Closed));
        vm.prank(alice);
        trap.register{value: 1 ether}(plant, x, alice, terms(Mode.Open, Mode.Closed));
    }

    // ---------------------------------------------------------------- countries

    function bit(bytes2 code) private pure returns (uint256) {
        return uint256(uint8(code[0]) - 65) * 26 + uint8(code[1]) - 65;
    }

    function countries(bytes2 a, bytes2 b) private pure returns (uint256[3] memory map) {
        map[bit(a) >> 8] |= 1 << (bit(a) & 255);
        map[bit(b) >> 8] |= 1 << (bit(b) & 255);
    }

    function test_anybody_stores_a_policy_and_it_never_changes() public {
        uint256[3] memory map = countries("DE", "ZZ");
        bytes32 allow = keccak256(abi.encode(true, map));
        vm.expectEmit();
        emit IFlyTrap.CountryPolicyStored(nextSeq(), allow, true, map);
        vm.prank(bob);
        vm.assertEq(trap.storeCountryPolicy(true, map), allow, "id");
        bytes32 deny = trap.storeCountryPolicy(false, map);
        vm.assertTrue(allow != deny, "the mode is part of it");
        vm.assertTrue(trap.countryAllowed(allow, "DE") && trap.countryAllowed(allow, "ZZ"), "listed");
        vm.assertTrue(!trap.countryAllowed(allow, "AA") && !trap.countryAllowed(allow, "FR"), "not listed");
        vm.assertTrue(!trap.countryAllowed(deny, "DE") && trap.countryAllowed(deny, "FR"), "the other way round");
        uint64 before = nextSeq();
        trap.storeCountryPolicy(true, map);
        vm.assertEq(nextSeq(), before, "again: nothing happens");
    }

    function testFuzz_every_country_has_its_bit(bool allow, uint256[3] memory map, uint8 first, uint8 second) public {
        map[2] &= (1 << 164) - 1;
        bytes2 code = bytes2(bytes.concat(bytes1(65 + first % 26), bytes1(65 + second % 26)));
        bool listed = map[bit(code) / 256] & (1 << (bit(code) % 256)) != 0;
        bytes32 id = trap.storeCountryPolicy(allow, map);
        vm.assertTrue(trap.countryAllowed(id, code) == (listed == allow), "country");
    }

    function test_bad_countries_are_refused() public {
        uint256[3] memory map;
        bytes32 id = trap.storeCountryPolicy(false, map);
        map[2] = 1 << 164;
        vm.expectRevert(IFlyTrap.BadCountryMap.selector);
        trap.storeCountryPolicy(true, map);
        bytes2[6] memory bad = [bytes2("@A"), "A@", "[A", "A[", "de", 0];
        for (uint256 i = 0; i < bad.length; ++i) {
            vm.expectRevert(abi.encodeWithSelector(IFlyTrap.BadCountry.selector, bad[i]));
            trap.countryAllowed(id, bad[i]);
        }
        vm.expectRevert(abi.encodeWithSelector(IFlyTrap.UnknownCountryPolicy.selector, bytes32(uint256(5))));
        trap.countryAllowed(bytes32(uint256(5)), "DE");
        Terms memory t;
        t.countryPolicy = bytes32(uint256(5));
        vm.expectRevert(abi.encodeWithSelector(IFlyTrap.UnknownCountryPolicy.selector, bytes32(uint256(5))));
        vm.prank(alice);
        trap.setTerms(plant, t);
    }

    function test_the_nearest_policy_of_the_same_owner_holds() public {
        uint256[3] memory map;
        Terms memory t;
        bytes32 a = trap.storeCountryPolicy(true, map);
        bytes32 b = trap.storeCountryPolicy(false, map);
        bytes32 line = register(alice, plant, "line", alice);
        register(alice, plant, "flat", bob);
        t.countryPolicy = a;
        setTerms(plant, t);
        vm.assertEq(ask(carol, Action.Publish, "plant/line/x").countryPolicy, a, "inherited");
        vm.assertEq(ask(carol, Action.Publish, "plant/flat/x").countryPolicy, 0, "another owner");
        t.countryPolicy = b;
        setTerms(line, t);
        vm.assertEq(ask(carol, Action.Publish, "plant/line/x").countryPolicy, b, "own");
        (,, bytes32 told) = trap.space(line);
        vm.assertEq(told, b, "space");
        t.countryPolicy = 0;
        setTerms(line, t);
        vm.assertEq(ask(carol, Action.Publish, "plant/line/x").countryPolicy, a, "inherited again");
    }

    // ---------------------------------------------------------------- ownership

    function test_a_space_changes_hands_in_two_steps() public {
        vm.expectRevert(refused(plant, bob));
        vm.prank(bob);
        trap.offerOwnership(plant, bob);
        vm.expectEmit();
        emit IFlyTrap.OwnershipOffered(nextSeq(), plant, bob);
        vm.prank(alice);
        trap.offerOwnership(plant, bob);
        vm.assertEq(ownerOf(plant), alice, "not yet");
        (address offered,,) = trap.pendingOwners(plant);
        vm.assertEq(offered, bob, "offered");
        vm.expectRevert(refused(plant, carol));
        vm.prank(carol);
        trap.acceptOwnership(plant);
        vm.expectEmit();
        emit IFlyTrap.OwnerChanged(nextSeq(), plant, alice, bob);
        vm.prank(bob);
        trap.acceptOwnership(plant);
        vm.assertEq(ownerOf(plant), bob, "owner");
        // Once.
        vm.expectRevert(refused(plant, bob));
        vm.prank(bob);
        trap.acceptOwnership(plant);
        vm.expectRevert(refused(plant, alice));
        vm.prank(alice);
        trap.startEpoch(plant);
    }

    function test_an_offer_can_be_taken_back() public {
        vm.prank(alice);
        trap.offerOwnership(plant, bob);
        vm.prank(alice);
        trap.offerOwnership(plant, address(0));
        vm.expectRevert(refused(plant, bob));
        vm.prank(bob);
        trap.acceptOwnership(plant);
    }

    function test_delegates_end_with_their_owner_and_rights_go_on() public {
        grant(alice, plant, carol, FOREVER, 0, SUBTREE | DELEGATE_GRANT | DELEGATE_REGISTER);
        vm.prank(alice);
        trap.offerOwnership(plant, bob);
        vm.prank(bob);
        trap.acceptOwnership(plant);
        checkGrant(plant, carol, FOREVER, 0, SUBTREE);
        vm.expectRevert(refused(plant, carol));
        grant(carol, plant, carol, FOREVER, FOREVER, SUBTREE);
        vm.expectRevert(refused(plant, carol));
        register(carol, plant, "x", bob);
    }

    // ---------------------------------------------------------------- reclaiming

    function test_a_lost_space_is_reclaimed_after_a_long_delay() public {
        vm.expectRevert(
            abi.encodeWithSelector(IAccessControl.AccessControlUnauthorizedAccount.selector, bob, bytes32(0))
        );
        vm.prank(bob);
        trap.startReclaim(plant, bob);
        vm.expectRevert(IFlyTrap.ZeroAddress.selector);
        vm.prank(admin);
        trap.startReclaim(plant, address(0));
        vm.expectRevert(abi.encodeWithSelector(IFlyTrap.NotRegistered.selector, bytes32(uint256(1))));
        vm.prank(admin);
        trap.startReclaim(bytes32(uint256(1)), bob);

        uint64 notBefore = START + RECLAIM_DELAY;
        vm.assertEq(RECLAIM_DELAY, 180 days, "delay");
        vm.expectEmit();
        emit IFlyTrap.ReclaimStarted(nextSeq(), plant, bob, notBefore);
        vm.prank(admin);
        trap.startReclaim(plant, bob);
        (, address reclaimer, uint64 from) = trap.pendingOwners(plant);
        vm.assertTrue(reclaimer == bob && from == notBefore, "pending");

        vm.warp(notBefore - 1);
        vm.expectRevert(abi.encodeWithSelector(IFlyTrap.TooEarly.selector, notBefore));
        vm.prank(bob);
        trap.finishReclaim(plant);
        vm.warp(notBefore);
        vm.expectRevert(refused(plant, carol));
        vm.prank(carol);
        trap.finishReclaim(plant);
        vm.prank(bob);
        trap.finishReclaim(plant);
        vm.assertEq(ownerOf(plant), bob, "owner");
    }

    function test_who_is_there_after_all_stops_it() public {
        vm.expectRevert(IFlyTrap.NothingPending.selector);
        vm.prank(alice);
        trap.stopReclaim(plant);
        vm.prank(admin);
        trap.startReclaim(plant, bob);
        vm.expectRevert(
            abi.encodeWithSelector(IAccessControl.AccessControlUnauthorizedAccount.selector, bob, bytes32(0))
        );
        vm.prank(bob);
        trap.stopReclaim(plant);
        vm.expectEmit();
        emit IFlyTrap.ReclaimStopped(nextSeq(), plant, alice);
        vm.prank(alice);
        trap.stopReclaim(plant);
        vm.warp(START + RECLAIM_DELAY);
        vm.expectRevert(refused(plant, bob));
        vm.prank(bob);
        trap.finishReclaim(plant);

        vm.prank(admin);
        trap.startReclaim(plant, bob);
        vm.prank(admin);
        trap.stopReclaim(plant);
    }

    function test_a_new_owner_ends_a_reclaim_and_an_offer() public {
        vm.prank(admin);
        trap.startReclaim(plant, bob);
        vm.prank(alice);
        trap.offerOwnership(plant, carol);
        vm.prank(carol);
        trap.acceptOwnership(plant);
        vm.warp(START + RECLAIM_DELAY);
        vm.expectRevert(refused(plant, bob));
        vm.prank(bob);
        trap.finishReclaim(plant);
    }
}
