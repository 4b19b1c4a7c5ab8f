// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";

import {IFlyTrap} from "../src/IFlyTrap.sol";
import {Action, FEE_DELAY, Fees, MAX_SALE_BPS, SUCCESSOR_DELAY} from "../src/Types.sol";
import {Base} from "./base/Base.sol";
import {vm} from "./base/Vm.sol";

/// Who runs the broker.
contract RolesTest is Base {
    bytes32 private constant ADMIN = 0;

    function unauthorised(address account, bytes32 roleId) private {
        vm.expectRevert(
            abi.encodeWithSelector(IAccessControl.AccessControlUnauthorizedAccount.selector, account, roleId)
        );
    }

    function test_roles_are_the_administrators_to_give() public {
        bytes32 auditor = keccak256("AUDITOR");
        unauthorised(bob, ADMIN);
        vm.prank(bob);
        trap.grantRole(auditor, bob);
        vm.expectEmit();
        emit IAccessControl.RoleGranted(auditor, bob, admin);
        vm.expectEmit();
        emit IFlyTrap.RoleSet(nextSeq(), auditor, bob, true, admin);
        vm.prank(admin);
        trap.grantRole(auditor, bob);
        vm.assertTrue(trap.hasRole(auditor, bob), "held");
        // Again is no change, and no event.
        uint64 before = nextSeq();
        vm.prank(admin);
        trap.grantRole(auditor, bob);
        vm.assertEq(nextSeq(), before, "nothing told");
        vm.expectEmit();
        emit IFlyTrap.RoleSet(nextSeq(), auditor, bob, false, admin);
        vm.prank(admin);
        trap.revokeRole(auditor, bob);
        vm.prank(admin);
        trap.grantRole(auditor, bob);
        vm.prank(bob);
        trap.renounceRole(auditor, bob);
        vm.assertTrue(!trap.hasRole(auditor, bob), "given up");
        before = nextSeq();
        vm.prank(admin);
        trap.revokeRole(auditor, bob);
        vm.assertEq(nextSeq(), before, "nothing told");
    }

    // ---------------------------------------------------------------- the administrator

    function test_the_administration_is_handed_over_in_two_steps_with_a_delay() public {
        unauthorised(bob, ADMIN);
        vm.prank(bob);
        trap.offerAdmin(bob);
        vm.expectEmit();
        emit IFlyTrap.AdminOffered(nextSeq(), bob, START + ADMIN_DELAY);
        vm.prank(admin);
        trap.offerAdmin(bob);
        (address current, address offered, uint64 notBefore) = trap.admin();
        vm.assertTrue(current == admin && offered == bob && notBefore == START + ADMIN_DELAY, "pending");
        vm.warp(START + ADMIN_DELAY - 1);
        vm.expectRevert(abi.encodeWithSelector(IFlyTrap.TooEarly.selector, START + ADMIN_DELAY));
        vm.prank(bob);
        trap.acceptAdmin();
        vm.warp(START + ADMIN_DELAY);
        vm.expectRevert(refused(0, carol));
        vm.prank(carol);
        trap.acceptAdmin();
        vm.prank(bob);
        trap.acceptAdmin();
        (current, offered, notBefore) = trap.admin();
        vm.assertTrue(current == bob && offered == address(0) && notBefore == 0, "done");
        vm.assertTrue(trap.hasRole(ADMIN, bob) && !trap.hasRole(ADMIN, admin), "roles");
        unauthorised(admin, ADMIN);
        register(admin, 0, "late", admin);
        vm.expectRevert(refused(0, bob));
        vm.prank(bob);
        trap.acceptAdmin();
    }

    function test_an_offer_is_taken_back() public {
        vm.prank(admin);
        trap.offerAdmin(bob);
        vm.prank(admin);
        trap.offerAdmin(address(0));
        vm.warp(START + 2 * ADMIN_DELAY);
        vm.expectRevert(refused(0, bob));
        vm.prank(bob);
        trap.acceptAdmin();
    }

    function test_there_is_always_exactly_one_administrator() public {
        vm.expectRevert(IFlyTrap.OnlyByHandOver.selector);
        vm.prank(admin);
        trap.grantRole(ADMIN, bob);
        vm.expectRevert(IFlyTrap.OnlyByHandOver.selector);
        vm.prank(admin);
        trap.revokeRole(ADMIN, admin);
        vm.expectRevert(IFlyTrap.OnlyByHandOver.selector);
        vm.prank(admin);
        trap.renounceRole(ADMIN, admin);
        // Nor by handing over to oneself.
        vm.prank(admin);
        trap.offerAdmin(admin);
        vm.warp(START + ADMIN_DELAY);
        vm.expectRevert(IFlyTrap.OnlyByHandOver.selector);
        vm.prank(admin);
        trap.acceptAdmin();
        admin = address(0);
        bytes memory code = creation();
        address made;
        assembly ("memory-safe") {
            made := create(0, add(code, 0x20), mload(code))
        }
        vm.assertEq(made, address(0), "no contract without an administrator");
    }

    // ---------------------------------------------------------------- fees

    function propose(Fees memory fees) private {
        vm.prank(treasurer);
        trap.proposeFees(fees);
    }

    function test_fees_begin_at_0() public view {
        Fees memory fees = trap.fees();
        vm.assertTrue(fees.create == 0 && fees.publish == 0 && fees.saleBps == 0, "fees");
        vm.assertEq(fees.openPeriod, 30 days, "open period");
    }

    function test_fees_are_announced_seven_days_ahead() public {
        Fees memory fees = Fees(1, 2, 5 days, 3);
        unauthorised(admin, keccak256("TREASURER"));
        vm.prank(admin);
        trap.proposeFees(fees);
        uint64 notBefore = START + 7 days;
        vm.expectEmit();
        emit IFlyTrap.FeesProposed(nextSeq(), fees, notBefore);
        propose(fees);
        vm.warp(notBefore - 1);
        vm.expectRevert(abi.encodeWithSelector(IFlyTrap.TooEarly.selector, notBefore));
        trap.applyFees(fees, notBefore);
        vm.assertEq(trap.fees().create, 0, "not yet");
        vm.warp(notBefore);
        // Others than the announced ones, or at another time, don't count.
        vm.expectRevert(IFlyTrap.NothingPending.selector);
        trap.applyFees(Fees(1, 2, 5 days, 4), notBefore);
        vm.expectRevert(IFlyTrap.NothingPending.selector);
        trap.applyFees(fees, notBefore - 1);
        vm.expectEmit();
        emit IFlyTrap.FeesSet(nextSeq(), fees);
        vm.prank(bob);
        trap.applyFees(fees, notBefore);
        Fees memory now_ = trap.fees();
        vm.assertTrue(now_.create == 1 && now_.publish == 2 && now_.openPeriod == 5 days && now_.saleBps == 3, "fees");
        vm.expectRevert(IFlyTrap.NothingPending.selector);
        trap.applyFees(fees, notBefore);
    }

    function test_the_last_announcement_counts() public {
        Fees memory first = Fees(1, 2, 5 days, 3);
        propose(first);
        vm.warp(START + 1);
        propose(Fees(0, 0, 5 days, 0));
        vm.warp(START + 8 days);
        vm.expectRevert(IFlyTrap.NothingPending.selector);
        trap.applyFees(first, START + FEE_DELAY);
    }

    function test_fees_have_limits() public {
        vm.assertEq(MAX_SALE_BPS, 2000, "a fifth");
        propose(Fees(type(uint96).max, type(uint96).max, 1 days, 2000));
        propose(Fees(0, 0, 3650 days, 0));
        Fees[3] memory bad = [Fees(0, 0, 1 days, 2001), Fees(0, 0, 1 days - 1, 0), Fees(0, 0, 3650 days + 1, 0)];
        for (uint256 i = 0; i < 3; ++i) {
            vm.expectRevert(IFlyTrap.BadFees.selector);
            propose(bad[i]);
        }
    }

    // ---------------------------------------------------------------- guardian, successor

    function test_only_a_guardian_pauses() public {
        unauthorised(admin, keccak256("GUARDIAN"));
        vm.prank(admin);
        trap.setPaused(true);
    }

    function test_a_successor_is_announced_with_a_delay() public {
        unauthorised(bob, ADMIN);
        vm.prank(bob);
        trap.announceSuccessor(bob);
        vm.assertEq(SUCCESSOR_DELAY, 30 days, "delay");
        vm.expectEmit();
        emit IFlyTrap.SuccessorAnnounced(nextSeq(), address(0x5), START + 30 days);
        vm.prank(admin);
        trap.announceSuccessor(address(0x5));
        (address successor, uint64 notBefore) = trap.successor();
        vm.assertTrue(successor == address(0x5) && notBefore == START + 30 days, "announced");
        vm.prank(admin);
        trap.announceSuccessor(address(0));
        (successor,) = trap.successor();
        vm.assertEq(successor, address(0), "taken back");
    }
}
