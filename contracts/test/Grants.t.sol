// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {
    DELEGATES,
    DELEGATE_GRANT,
    DELEGATE_REGISTER,
    DENIALS,
    DENY_PUBLISH,
    DENY_SUBSCRIBE,
    Grant,
    SUBTREE,
    pack
} from "../src/Grant.sol";
import {IFlyTrap} from "../src/IFlyTrap.sol";
import {Action, FOREVER, GrantInput, Mode} from "../src/Types.sol";
import {Base} from "./base/Base.sol";
import {vm} from "./base/Vm.sol";

/// Setting and ending grants, and who may.
contract GrantsTest is Base {
    function test_a_grant_is_one_word_and_told_as_stored() public {
        uint256 word = Grant.unwrap(pack(START + 5, FOREVER, SUBTREE, 7));
        vm.assertEq(word, uint256(START + 5) << 120 | uint256(FOREVER) << 56 | 7 << 40 | 4, "layout");
        vm.expectEmit();
        emit IFlyTrap.Granted(nextSeq(), plant, bob, Grant.wrap(word), keccak256("salt, reason"), alice);
        grant(alice, plant, bob, START + 5, FOREVER, SUBTREE);
        (Grant stored,,,) = trap.grantOf(plant, bob);
        vm.assertEq(Grant.unwrap(stored), word, "stored");
        checkGrant(plant, bob, START + 5, FOREVER, SUBTREE);
    }

    function test_epoch_and_tenure_are_the_contracts() public {
        vm.prank(alice);
        trap.startEpoch(plant);
        vm.prank(alice);
        trap.offerOwnership(plant, alice);
        vm.prank(alice);
        trap.acceptOwnership(plant);
        grant(alice, plant, bob, 1, 1, 0);
        (Grant stored,,,) = trap.grantOf(plant, bob);
        vm.assertEq(Grant.unwrap(stored), 1 << 120 | 1 << 56 | 7 << 40 | 1 << 24 | 1 << 8, "stored");
    }

    function testFuzz_words_of_other_bits_are_refused(uint256 word) public {
        GrantInput[] memory one = input(bob, 0, 0, 0);
        one[0].grant = Grant.wrap(word);
        bool good = word >> 184 == 0 && (word >> 5) & ((1 << 35) - 1) == 0;
        if (!good) vm.expectRevert(abi.encodeWithSelector(IFlyTrap.BadGrant.selector, word));
        vm.prank(alice);
        trap.grantRights(plant, one);
        // Most words are bad: see that their good part is good.
        one[0].grant = Grant.wrap(word & (((1 << 144) - 1) << 40 | 31));
        vm.prank(alice);
        trap.grantRights(plant, one);
        uint8 flags = uint8(word & 31);
        if ((word >> 56) & type(uint128).max == 0 && flags == SUBTREE) flags = 0;
        checkGrant(plant, bob, uint64(word >> 120), uint64(word >> 56), flags);
    }

    function test_only_owner_and_delegates_grant() public {
        vm.expectRevert(refused(plant, bob));
        grant(bob, plant, bob, FOREVER, FOREVER, SUBTREE);
        vm.expectRevert(refused(plant, admin));
        grant(admin, plant, admin, FOREVER, FOREVER, SUBTREE);
        vm.expectRevert(refused(plant, bob));
        vm.prank(bob);
        trap.revoke(plant, carol, 0, 0);
        // The owner of what is around has no say in what he sold.
        bytes32 flat = register(alice, plant, "flat", bob);
        vm.expectRevert(refused(flat, alice));
        grant(alice, flat, alice, FOREVER, FOREVER, SUBTREE);
        vm.expectRevert(abi.encodeWithSelector(IFlyTrap.NotRegistered.selector, bytes32(0)));
        grant(admin, 0, bob, FOREVER, FOREVER, SUBTREE);
        vm.expectRevert(IFlyTrap.ZeroAddress.selector);
        grant(alice, plant, address(0), FOREVER, FOREVER, SUBTREE);
    }

    function test_a_batch_is_all_or_nothing() public {
        GrantInput[] memory two = new GrantInput[](2);
        two[0] = GrantInput(bob, pack(5, 6, 0, 0), 0);
        two[1] = GrantInput(carol, pack(7, 8, SUBTREE, 0), 0);
        vm.prank(alice);
        trap.grantRights(plant, two);
        checkGrant(plant, bob, 5, 6, 0);
        checkGrant(plant, carol, 7, 8, SUBTREE);
        two[0].grant = pack(9, 9, 0, 0);
        two[1].grant = Grant.wrap(32);
        vm.expectPartialRevert(IFlyTrap.BadGrant.selector);
        vm.prank(alice);
        trap.grantRights(plant, two);
        checkGrant(plant, bob, 5, 6, 0);
    }

    // ---------------------------------------------------------------- delegates

    function test_a_delegate_grants_and_makes_no_delegates() public {
        grant(alice, plant, bob, 0, 0, DELEGATE_GRANT);
        grant(bob, plant, carol, FOREVER, 0, SUBTREE);
        checkGrant(plant, carol, FOREVER, 0, SUBTREE);
        for (uint8 flag = DELEGATE_GRANT; flag <= DELEGATE_REGISTER; flag *= 2) {
            vm.expectRevert(abi.encodeWithSelector(IFlyTrap.OnlyOwnerDelegates.selector, plant, carol));
            grant(bob, plant, carol, FOREVER, 0, SUBTREE | flag);
        }
        // Nor ends others, itself included, but may change what else they have.
        grant(alice, plant, carol, 0, 0, DELEGATES);
        vm.expectRevert(abi.encodeWithSelector(IFlyTrap.OnlyOwnerDelegates.selector, plant, carol));
        grant(bob, plant, carol, 0, 0, 0);
        grant(bob, plant, carol, FOREVER, 0, DELEGATES);
        vm.prank(bob);
        trap.revoke(plant, carol, 0, 0);
        checkGrant(plant, carol, 0, 0, DELEGATES | SUBTREE);
        vm.prank(alice);
        trap.revoke(plant, carol, 0, 0);
        checkGrant(plant, carol, 0, 0, 0);
    }

    function test_a_delegate_for_registering_does_not_grant() public {
        grant(alice, plant, bob, 0, 0, DELEGATE_REGISTER);
        vm.expectRevert(refused(plant, bob));
        grant(bob, plant, bob, FOREVER, 0, DELEGATE_REGISTER);
    }

    function test_a_delegate_is_one_of_its_space_alone() public {
        bytes32 line = register(alice, plant, "line", alice);
        grant(alice, plant, bob, 0, 0, DELEGATE_GRANT | SUBTREE);
        vm.expectRevert(refused(line, bob));
        grant(bob, line, carol, FOREVER, 0, 0);
    }

    // ---------------------------------------------------------------- ending

    function test_revoking_in_a_closed_space_gives_the_slot_back() public {
        grant(alice, plant, bob, FOREVER, FOREVER, SUBTREE);
        vm.expectEmit();
        emit IFlyTrap.Granted(nextSeq(), plant, bob, pack(0, 0, SUBTREE, 9), keccak256("why"), alice);
        vm.prank(alice);
        trap.revoke(plant, bob, 9, keccak256("why"));
        (Grant stored,,,) = trap.grantOf(plant, bob);
        vm.assertEq(Grant.unwrap(stored), 0, "slot");
    }

    function test_revoking_leaves_denials_where_the_wallet_could_come_back() public {
        grant(alice, plant, bob, FOREVER, FOREVER, 0);
        setTerms(plant, terms(Mode.Priced, Mode.Closed));
        vm.prank(alice);
        trap.revoke(plant, bob, 0, 0);
        checkGrant(plant, bob, 0, 0, SUBTREE | DENY_PUBLISH);
        setTerms(plant, terms(Mode.Closed, Mode.Open));
        vm.prank(alice);
        trap.revoke(plant, bob, 0, 0);
        // The older denial stands.
        checkGrant(plant, bob, 0, 0, SUBTREE | DENIALS);
        vm.prank(alice);
        trap.revoke(plant, carol, 0, 0);
        checkGrant(plant, carol, 0, 0, SUBTREE | DENY_SUBSCRIBE);
    }

    // ---------------------------------------------------------------- the publish fee

    function pay(GrantInput[] memory grants, uint256 value) private {
        vm.prank(alice);
        trap.grantRights{value: value}(plant, grants);
    }

    function wrong(uint256 due, uint256 sent) private {
        vm.expectRevert(abi.encodeWithSelector(IFlyTrap.WrongValue.selector, due, sent));
    }

    function test_a_new_publisher_costs_the_granter_the_fee() public {
        setFees(0, 1 ether, 0);
        uint64 end = uint64(block.timestamp) + 100;
        wrong(1 ether, 0);
        pay(input(bob, end, 0, 0), 0);
        wrong(0, 1 ether);
        pay(input(bob, 0, FOREVER, 0), 1 ether);
        wrong(1 ether, 2 ether);
        pay(input(bob, end, 0, 0), 2 ether);
        pay(input(bob, 0, FOREVER, 0), 0);
        pay(input(bob, end, FOREVER, 0), 1 ether);
        // He has it already.
        pay(input(bob, end + 1, 0, SUBTREE), 0);
        wrong(0, 1 ether);
        pay(input(bob, end + 1, 0, SUBTREE), 1 ether);
        // It ran out.
        vm.warp(end + 1);
        pay(input(bob, FOREVER, 0, 0), 1 ether);
        // A denied right is none, so denial is no way around the fee.
        pay(input(carol, FOREVER, 0, DENY_PUBLISH), 0);
        pay(input(carol, FOREVER, 0, 0), 1 ether);
        pay(input(carol, end + 1, 0, 0), 0);
        pay(input(carol, end + 2, 0, 0), 1 ether);
        // Nor is an epoch.
        vm.prank(alice);
        trap.startEpoch(plant);
        pay(input(carol, FOREVER, 0, 0), 1 ether);
        vm.assertEq(address(trap).balance, 5 ether, "fees");
    }

    function test_a_batch_pays_for_each_new_publisher() public {
        setFees(0, 1 ether, 0);
        GrantInput[] memory three = new GrantInput[](3);
        three[0] = GrantInput(bob, pack(FOREVER, 0, 0, 0), 0);
        three[1] = GrantInput(carol, pack(0, FOREVER, 0, 0), 0);
        three[2] = GrantInput(admin, pack(FOREVER, 0, 0, 0), 0);
        wrong(2 ether, 1 ether);
        pay(three, 1 ether);
        pay(three, 2 ether);
        // Twice the same wallet is one.
        three[0].wallet = treasurer;
        three[2].wallet = treasurer;
        pay(three, 1 ether);
    }

    /// With random rights before and after, the fee is due exactly when a wallet could not publish and then can.
    function testFuzz_fee_is_due_for_who_could_not_and_then_can(
        uint64 before,
        uint8 flagsBefore,
        uint64 next,
        uint8 flagsNext,
        uint96 fee
    ) public {
        setFees(0, fee, 0);
        uint64 now_ = uint64(block.timestamp);
        // Near the present, where it matters.
        before = now_ - 2 + before % 5;
        next = now_ - 2 + next % 5;
        (flagsBefore, flagsNext) = (flagsBefore & 7, flagsNext & 7);
        bool could = before > now_ && flagsBefore & DENY_PUBLISH == 0;
        bool can = next > now_ && flagsNext & DENY_PUBLISH == 0;
        vm.deal(alice, 2 * uint256(fee) + 1);
        pay(input(bob, before, 0, flagsBefore), could ? fee : 0);
        uint256 due = !could && can ? fee : 0;
        wrong(due, due + 1);
        pay(input(bob, next, 0, flagsNext), due + 1);
        pay(input(bob, next, 0, flagsNext), due);
        vm.assertEq(address(trap).balance, (could ? uint256(fee) : 0) + due, "fees");
    }
}
