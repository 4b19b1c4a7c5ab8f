// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";

import {DELEGATE_GRANT, DENY_PUBLISH, DENY_SUBSCRIBE, SUBTREE, pack} from "../src/Grant.sol";
import {IFlyTrap} from "../src/IFlyTrap.sol";
import {Action, FOREVER, Mode, SaleTerms, Terms, Why} from "../src/Types.sol";
import {Base} from "./base/Base.sol";
import {Forcer, Greedy, Reentrant, Wallet} from "./base/Owners.sol";
import {vm} from "./base/Vm.sol";

/// Buying, shares, credits, fees, the surplus.
contract MoneyTest is Base {
    uint88 private constant PRICE = 0.5 ether;

    function setUp() public override {
        super.setUp();
        setTerms(plant, priced(PRICE, 100));
    }

    function tryBuy(address as_, uint256 value, uint32 periods, bytes32 hash, uint256 max) private {
        vm.prank(as_);
        trap.buy{value: value}(plant, as_, Action.Subscribe, periods, hash, max);
    }

    function quoted(bytes32 node, Action action) private view returns (bytes32 hash) {
        (,, hash) = trap.quote(node, action, 1);
    }

    // ---------------------------------------------------------------- the rule

    function test_a_right_is_bought_and_renewed() public {
        uint256 before = alice.balance;
        vm.expectEmit();
        emit IFlyTrap.Bought(
            nextSeq(), plant, bob, pack(0, START + 100, SUBTREE, 0), Action.Subscribe, bob, PRICE, PRICE
        );
        vm.assertEq(buy(bob, plant, Action.Subscribe, 1), START + 100, "until");
        vm.assertEq(alice.balance - before, PRICE, "the owner has it at once");
        checkPermitted(bob, Action.Subscribe, "plant/x", Why.Grant, START + 100);
        checkDenied(bob, Action.Publish, "plant/x", Why.NotGranted);
        // Early renewal loses nothing.
        vm.assertEq(buy(bob, plant, Action.Subscribe, 2), START + 300, "renewed");
        // After the end it begins now.
        vm.warp(START + 1000);
        vm.assertEq(buy(bob, plant, Action.Subscribe, 1), START + 1100, "anew");
        vm.assertEq(buy(bob, plant, Action.Publish, 1), START + 1100, "the other right");
        checkGrant(plant, bob, START + 1100, START + 1100, SUBTREE);
        vm.assertEq(address(trap).balance, 0, "nothing stays");
    }

    function test_a_present_is_the_receivers() public {
        bytes32 hash = quoted(plant, Action.Subscribe);
        vm.prank(bob);
        trap.buy{value: PRICE}(plant, carol, Action.Subscribe, 1, hash, PRICE);
        checkPermitted(carol, Action.Subscribe, "plant/x", Why.Grant, START + 100);
        checkDenied(bob, Action.Subscribe, "plant/x", Why.NotGranted);
        vm.expectRevert(IFlyTrap.ZeroAddress.selector);
        vm.prank(bob);
        trap.buy{value: PRICE}(plant, address(0), Action.Subscribe, 1, hash, PRICE);
    }

    function test_price_0_is_enrolment_for_free() public {
        setTerms(plant, priced(0, 100));
        vm.assertEq(buy(bob, plant, Action.Publish, 3), START + 300, "until");
        bytes32 hash = quoted(plant, Action.Subscribe);
        vm.expectRevert(abi.encodeWithSelector(IFlyTrap.WrongValue.selector, 0, 1));
        tryBuy(bob, 1, 1, hash, 1);
    }

    function test_period_0_is_for_ever_and_once() public {
        setTerms(plant, priced(PRICE, 0));
        bytes32 hash = quoted(plant, Action.Subscribe);
        vm.expectRevert(abi.encodeWithSelector(IFlyTrap.BadPeriods.selector, 2));
        tryBuy(bob, 2 * PRICE, 2, hash, 2 * PRICE);
        vm.expectRevert(abi.encodeWithSelector(IFlyTrap.BadPeriods.selector, 0));
        tryBuy(bob, 0, 0, hash, 0);
        vm.assertEq(buy(bob, plant, Action.Subscribe, 1), FOREVER, "until");
        vm.expectRevert(abi.encodeWithSelector(IFlyTrap.AlreadyForever.selector, plant, bob));
        tryBuy(bob, PRICE, 1, hash, PRICE);
        setTerms(plant, priced(PRICE, 100));
        hash = quoted(plant, Action.Subscribe);
        vm.expectRevert(abi.encodeWithSelector(IFlyTrap.BadPeriods.selector, 0));
        tryBuy(carol, 0, 0, hash, 0);
    }

    function test_exact_value_within_the_buyers_limit() public {
        bytes32 hash = quoted(plant, Action.Subscribe);
        vm.expectRevert(abi.encodeWithSelector(IFlyTrap.WrongValue.selector, PRICE, PRICE - 1));
        tryBuy(bob, PRICE - 1, 1, hash, PRICE);
        vm.expectRevert(abi.encodeWithSelector(IFlyTrap.WrongValue.selector, PRICE, PRICE + 1));
        tryBuy(bob, PRICE + 1, 1, hash, PRICE + 1);
        vm.expectRevert(abi.encodeWithSelector(IFlyTrap.TooExpensive.selector, PRICE, PRICE - 1));
        tryBuy(bob, PRICE, 1, hash, PRICE - 1);
    }

    function test_times_that_overflow_revert() public {
        grant(alice, plant, bob, 0, FOREVER - 50, SUBTREE);
        bytes32 hash = quoted(plant, Action.Subscribe);
        vm.expectRevert(abi.encodeWithSignature("Panic(uint256)", 0x11));
        tryBuy(bob, PRICE, 1, hash, PRICE);
    }

    function test_only_what_is_priced_is_for_sale() public {
        Mode[2] memory modes = [Mode.Closed, Mode.Open];
        for (uint256 i = 0; i < 2; ++i) {
            setTerms(plant, terms(modes[i], Mode.Priced));
            bytes memory no = abi.encodeWithSelector(IFlyTrap.NotForSale.selector, plant, Action.Publish);
            vm.expectRevert(no);
            trap.quote(plant, Action.Publish, 1);
            bytes32 hash = keccak256(abi.encode(SaleTerms(plant, Action.Publish, alice, 0, modes[i], 0, 0, 0, 0, 0)));
            vm.expectRevert(no);
            vm.prank(bob);
            trap.buy(plant, bob, Action.Publish, 1, hash, 0);
        }
        vm.expectRevert(abi.encodeWithSelector(IFlyTrap.NotRegistered.selector, bytes32(uint256(1))));
        trap.quote(bytes32(uint256(1)), Action.Publish, 1);
    }

    function test_a_denied_wallet_can_not_pay() public {
        grant(alice, plant, bob, 0, 0, DENY_SUBSCRIBE | SUBTREE);
        bytes32 hash = quoted(plant, Action.Subscribe);
        vm.expectRevert(abi.encodeWithSelector(IFlyTrap.Denied.selector, plant, bob));
        tryBuy(bob, PRICE, 1, hash, PRICE);
        // The other right is another matter, and the denial stays.
        buy(bob, plant, Action.Publish, 1);
        checkGrant(plant, bob, START + 100, 0, DENY_SUBSCRIBE | SUBTREE);
    }

    function test_buying_does_not_widen_what_the_owner_kept_narrow() public {
        bytes32 hash = quoted(plant, Action.Subscribe);
        uint8[2] memory flags = [0, DENY_PUBLISH];
        uint64[2] memory publish = [FOREVER, 0];
        for (uint256 i = 0; i < 2; ++i) {
            grant(alice, plant, bob, publish[i], 0, flags[i]);
            vm.expectRevert(abi.encodeWithSelector(IFlyTrap.NarrowGrant.selector, plant, bob));
            tryBuy(bob, PRICE, 1, hash, PRICE);
        }
        grant(alice, plant, bob, 0, START + 1, 0);
        vm.expectRevert(abi.encodeWithSelector(IFlyTrap.NarrowGrant.selector, plant, bob));
        tryBuy(bob, PRICE, 1, hash, PRICE);
        // What has run out doesn't count, and delegates stay delegates.
        grant(alice, plant, bob, START, START, DELEGATE_GRANT);
        buy(bob, plant, Action.Subscribe, 1);
        checkGrant(plant, bob, START, START + 100, DELEGATE_GRANT | SUBTREE);
    }

    // ---------------------------------------------------------------- races

    /// Whatever changes between reading and paying, the buyer doesn't pay.
    function test_each_race_is_lost_by_nobody() public {
        for (uint256 race = 0; race < 8; ++race) {
            setUp();
            bytes32 hash = quoted(plant, Action.Publish);
            Terms memory t = priced(PRICE, 100);
            if (race == 0) t.publishPrice += 1;
            if (race == 1) t.publishPeriod -= 1;
            if (race == 2) t.publish = Mode.Open;
            if (race == 3) t.countryPolicy = trap.storeCountryPolicy(true, [uint256(1), 0, 0]);
            if (race < 4) setTerms(plant, t);
            if (race == 4) {
                vm.prank(alice);
                trap.startEpoch(plant);
            }
            if (race == 5) {
                vm.prank(alice);
                trap.offerOwnership(plant, carol);
                vm.prank(carol);
                trap.acceptOwnership(plant);
            }
            if (race == 6) setFees(0, 1, 0);
            if (race == 7) setFees(0, 0, 1);
            vm.expectPartialRevert(IFlyTrap.TermsChanged.selector);
            vm.prank(bob);
            trap.buy{value: PRICE}(plant, bob, Action.Publish, 1, hash, 2 * PRICE);
        }
    }

    function test_what_does_not_concern_the_buyer_is_no_race() public {
        bytes32 hash = quoted(plant, Action.Subscribe);
        Terms memory t = priced(PRICE, 100);
        (t.publish, t.publishPrice, t.publishPeriod) = (Mode.Closed, 7, 7);
        setTerms(plant, t);
        setFees(0, 1, 0);
        tryBuy(bob, PRICE, 1, hash, PRICE);
    }

    function test_pause_stops_purchases_and_nothing_that_takes_rights_or_pays_out() public {
        setOwner(address(new Greedy()));
        buy(bob, plant, Action.Subscribe, 1);
        bytes32 hash = quoted(plant, Action.Subscribe);
        vm.expectEmit();
        emit IFlyTrap.PausedSet(nextSeq(), true, guardian);
        vm.prank(guardian);
        trap.setPaused(true);
        vm.assertTrue(trap.paused(), "paused");
        vm.expectRevert(IFlyTrap.Paused.selector);
        tryBuy(bob, PRICE, 1, hash, PRICE);
        Terms memory none;
        string[] memory x = labels("x");
        vm.expectRevert(IFlyTrap.Paused.selector);
        vm.prank(admin);
        trap.register(0, x, admin, none);
        vm.expectRevert(IFlyTrap.Paused.selector);
        vm.prank(admin);
        trap.registerHash(0, keccak256("x"), admin, none);
        address owner = ownerOf(plant);
        vm.prank(owner);
        trap.revoke(plant, bob, 0, 0);
        vm.prank(owner);
        trap.withdraw(payable(carol));
        vm.prank(guardian);
        trap.setPaused(false);
        tryBuy(carol, PRICE, 1, hash, PRICE);
    }

    // ---------------------------------------------------------------- owners of all kinds

    function setOwner(address owner) private {
        vm.prank(alice);
        trap.offerOwnership(plant, owner);
        vm.prank(owner);
        trap.acceptOwnership(plant);
    }

    function test_a_contract_wallet_is_paid() public {
        Wallet owner = new Wallet();
        setOwner(address(owner));
        buy(bob, plant, Action.Subscribe, 1);
        vm.assertEq(address(owner).balance, PRICE, "paid");
        vm.assertEq(owner.payments(), 1, "noted");
        vm.assertEq(trap.totalCredits(), 0, "no credit");
    }

    function test_a_reverting_or_greedy_owner_gets_credit_and_stops_nobody() public {
        Greedy owner = new Greedy();
        setOwner(address(owner));
        for (uint256 behaviour = 0; behaviour < 3; ++behaviour) {
            owner.behave(behaviour);
            (uint256 total,, bytes32 hash) = trap.quote(plant, Action.Subscribe, 1);
            vm.expectEmit();
            emit IFlyTrap.Credited(nextSeq() + 1, address(owner), PRICE);
            uint256 before = gasleft();
            tryBuy(bob, total, 1, hash, total);
            vm.assertLe(before - gasleft(), 250_000, "bounded");
        }
        vm.assertEq(trap.creditOf(address(owner)), 3 * uint256(PRICE), "credit");
        vm.assertEq(trap.totalCredits(), 3 * uint256(PRICE), "total");
        vm.expectRevert(IFlyTrap.NothingToPay.selector);
        vm.prank(treasurer);
        trap.sweep(payable(treasurer));

        vm.expectRevert(IFlyTrap.ZeroAddress.selector);
        vm.prank(address(owner));
        trap.withdraw(payable(0));
        // To himself he still can't.
        owner.behave(0);
        vm.expectRevert(abi.encodeWithSignature("Error(string)", "no"));
        vm.prank(address(owner));
        trap.withdraw(payable(address(owner)));
        uint256 had = carol.balance;
        vm.expectEmit();
        emit IFlyTrap.Withdrawn(nextSeq(), address(owner), carol, 3 * uint256(PRICE));
        vm.prank(address(owner));
        trap.withdraw(payable(carol));
        vm.assertEq(carol.balance - had, 3 * uint256(PRICE), "paid out");
        vm.assertEq(trap.totalCredits() + trap.creditOf(address(owner)), 0, "credit used");
        vm.expectRevert(IFlyTrap.NothingToPay.selector);
        vm.prank(address(owner));
        trap.withdraw(payable(carol));
    }

    function test_a_re_entering_owner_gets_nowhere() public {
        Reentrant owner = new Reentrant(trap);
        role("TREASURER", address(owner));
        setOwner(address(owner));
        new Forcer{value: 1 ether}(payable(address(trap)));
        (uint256 total,, bytes32 hash) = trap.quote(plant, Action.Subscribe, 1);
        bytes4[3] memory calls = [IFlyTrap.buy.selector, IFlyTrap.withdraw.selector, IFlyTrap.sweep.selector];
        for (uint256 i = 0; i < 3; ++i) {
            owner.attack(calls[i]);
            tryBuy(bob, total, 1, hash, total);
            vm.assertEq(bytes32(owner.answer()), bytes32(IFlyTrap.Reentered.selector), "refused");
        }
        // While he is paid his credit, too.
        owner.refusePush();
        tryBuy(bob, total, 1, hash, total);
        owner.attack(IFlyTrap.withdraw.selector);
        vm.prank(address(owner));
        trap.withdraw(payable(address(owner)));
        vm.assertEq(bytes32(owner.answer()), bytes32(IFlyTrap.Reentered.selector), "refused");
        vm.assertEq(address(trap).balance, 1 ether, "what was forced in is still there");
        checkGrant(plant, bob, 0, START + 400, SUBTREE);
    }

    // ---------------------------------------------------------------- fees

    function test_fees_are_taken_from_the_price_and_swept() public {
        setFees(0, 0.1 ether, 2000);
        uint256 had = alice.balance;
        (uint256 total, uint256 share,) = trap.quote(plant, Action.Publish, 2);
        vm.assertEq(total, 2 * uint256(PRICE) + 0.1 ether, "flat fee once on top");
        vm.assertEq(share, 0.8 ether, "four fifths");
        buy(bob, plant, Action.Publish, 2);
        vm.assertEq(alice.balance - had, 0.8 ether, "the owner's");
        // Without a flat fee for subscribers.
        buy(bob, plant, Action.Subscribe, 1);
        vm.assertEq(address(trap).balance, 0.1 ether + 0.2 ether + 0.1 ether, "the broker owner's");

        vm.expectPartialRevert(IAccessControl.AccessControlUnauthorizedAccount.selector);
        vm.prank(admin);
        trap.sweep(payable(admin));
        vm.expectRevert(IFlyTrap.ZeroAddress.selector);
        vm.prank(treasurer);
        trap.sweep(payable(0));
        vm.expectEmit();
        emit IFlyTrap.Swept(nextSeq(), carol, 0.4 ether);
        vm.prank(treasurer);
        trap.sweep(payable(carol));
        vm.assertEq(address(trap).balance, 0, "swept");
        vm.expectRevert(IFlyTrap.NothingToPay.selector);
        vm.prank(treasurer);
        trap.sweep(payable(carol));
    }

    function test_forced_ether_is_surplus_and_never_touches_credits() public {
        Greedy owner = new Greedy();
        setOwner(address(owner));
        buy(bob, plant, Action.Subscribe, 1);
        new Forcer{value: 3 ether}(payable(address(trap)));
        vm.assertEq(address(trap).balance, PRICE + 3 ether, "forced");
        vm.prank(treasurer);
        trap.sweep(payable(treasurer));
        vm.assertEq(treasurer.balance, 3 ether, "surplus");
        vm.assertEq(address(trap).balance, trap.totalCredits(), "credits remain");
        // Nothing comes in by the front door.
        (bool taken,) = address(trap).call{value: 1}("");
        vm.assertTrue(!taken, "plain ether is refused");
    }

    function test_a_sweep_that_is_not_taken_reverts() public {
        new Forcer{value: 1 ether}(payable(address(trap)));
        address payable greedy = payable(address(new Greedy()));
        vm.expectRevert(abi.encodeWithSignature("Error(string)", "no"));
        vm.prank(treasurer);
        trap.sweep(greedy);
    }

    /// Every wei of a purchase is the owner's or the broker owner's, in the announced shares.
    function testFuzz_no_wei_is_lost(uint88 price, uint32 period, uint16 periods, uint96 flat, uint16 bps, bool publish)
        public
    {
        bps %= 2001;
        setFees(0, flat, bps);
        setTerms(plant, priced(price, period));
        Action action = publish ? Action.Publish : Action.Subscribe;
        uint32 n = period == 0 ? 1 : uint32(periods) + 1;
        uint256 sale = uint256(price) * n;
        uint256 due = sale + (publish ? flat : 0);
        vm.deal(bob, due);
        uint256 had = alice.balance;
        uint64 until = buy(bob, plant, action, n);
        vm.assertEq(until, period == 0 ? FOREVER : uint64(block.timestamp) + uint64(period) * n, "until");
        vm.assertEq(bob.balance, 0, "paid");
        vm.assertEq(alice.balance - had, sale - sale * bps / 10_000, "the owner's");
        vm.assertEq(address(trap).balance, due - (alice.balance - had), "the rest");
    }

    /// `until` only grows by buying, whatever the wallet had.
    function testFuzz_buying_never_shortens(uint64 p, uint64 s, uint8 flags, uint32 period, uint8 n, bool publish)
        public
    {
        setTerms(plant, priced(0, period));
        grant(alice, plant, bob, p, s, flags & 7);
        Action action = publish ? Action.Publish : Action.Subscribe;
        bytes32 hash = quoted(plant, action);
        (, uint64 p0, uint64 s0,) = trap.grantOf(plant, bob);
        vm.prank(bob);
        try trap.buy(plant, bob, action, n, hash, 0) returns (uint64 until) {
            (, uint64 p1, uint64 s1,) = trap.grantOf(plant, bob);
            vm.assertEq(publish ? p1 : s1, until, "told");
            vm.assertTrue(until > (publish ? p0 : s0) || period == 0, "grew");
            vm.assertTrue(until >= block.timestamp, "from now on");
            vm.assertEq(publish ? s1 : p1, publish ? s0 : p0, "the other right is as it was");
        } catch {}
    }
}
