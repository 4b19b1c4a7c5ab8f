// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {DENY_PUBLISH, DENY_SUBSCRIBE, SUBTREE} from "../src/Grant.sol";
import {IFlyTrap} from "../src/IFlyTrap.sol";
import {Action, Decision, FOREVER, Mode, Terms, Why} from "../src/Types.sol";
import {Base} from "./base/Base.sol";
import {vm} from "./base/Vm.sol";

/// The one algorithm, as docs/policy.md tells it.
contract AllowedTest is Base {
    function test_the_table_of_the_policy_page() public {
        uint64 end2030 = 1_924_992_000;
        (address sensor, address contractor) = (bob, carol);
        bytes32 line1 = register(alice, plant, "line1", alice);
        register(alice, plant, "flat", admin);
        bytes32 gate = register(alice, plant, "gate", alice);
        bytes32 news = register(alice, plant, "news", alice);
        setTerms(news, terms(Mode.Closed, Mode.Open));
        grant(alice, plant, sensor, 0, FOREVER, 0);
        grant(alice, line1, sensor, FOREVER, 0, SUBTREE);
        grant(alice, plant, contractor, 0, end2030, SUBTREE);
        grant(alice, line1, contractor, 0, 0, SUBTREE | DENY_SUBSCRIBE);

        checkPermitted(alice, Action.Publish, "plant/line1/speed", Why.Owner, FOREVER);
        checkDenied(alice, Action.Subscribe, "plant/flat/heating", Why.NotGranted);
        checkPermitted(sensor, Action.Publish, "plant/line1/temp", Why.Grant, FOREVER);
        checkDenied(sensor, Action.Publish, "plant/line2/temp", Why.NotGranted);
        checkPermitted(sensor, Action.Subscribe, "plant", Why.Grant, FOREVER);
        checkDenied(sensor, Action.Subscribe, "plant/line1", Why.NotGranted);
        checkPermitted(contractor, Action.Subscribe, "plant/gate", Why.Grant, end2030);
        checkDenied(contractor, Action.Subscribe, "plant/line1/temp", Why.Denied);
        checkPermitted(address(9), Action.Subscribe, "plant/news/today", Why.Open, FOREVER);
        checkDenied(address(9), Action.Subscribe, "office/door", Why.NoSuchSpace);
        vm.assertEq(ask(bob, Action.Publish, "plant/gate/x").node, gate, "node");
        vm.assertEq(ask(bob, Action.Publish, "plant/other/x").node, plant, "nearest");
        vm.assertEq(ask(bob, Action.Publish, "office").node, 0, "none");
    }

    function test_a_right_ends_at_its_second() public {
        grant(alice, plant, bob, START + 10, 0, SUBTREE);
        vm.warp(START + 9);
        checkPermitted(bob, Action.Publish, "plant/x", Why.Grant, START + 10);
        vm.warp(START + 10);
        checkDenied(bob, Action.Publish, "plant/x", Why.Expired);
        checkDenied(bob, Action.Subscribe, "plant/x", Why.NotGranted);
    }

    function test_a_denial_beats_grants_and_openness_but_not_ownership() public {
        setTerms(plant, terms(Mode.Open, Mode.Open));
        grant(alice, plant, bob, FOREVER, FOREVER, SUBTREE | DENY_PUBLISH);
        grant(alice, plant, alice, 0, 0, SUBTREE | DENY_PUBLISH | DENY_SUBSCRIBE);
        checkDenied(bob, Action.Publish, "plant/x", Why.Denied);
        checkPermitted(bob, Action.Subscribe, "plant/x", Why.Grant, FOREVER);
        checkPermitted(alice, Action.Publish, "plant/x", Why.Owner, FOREVER);
        // From further up as well.
        bytes32 line = register(alice, plant, "line", alice);
        grant(alice, line, bob, FOREVER, 0, SUBTREE);
        checkDenied(bob, Action.Publish, "plant/line/x", Why.Denied);
        // But not across a border.
        bytes32 flat = register(alice, plant, "flat", carol);
        grant(carol, flat, bob, FOREVER, 0, SUBTREE);
        checkPermitted(bob, Action.Publish, "plant/flat/x", Why.Grant, FOREVER);
    }

    function test_what_was_owned_before_a_border_does_not_come_back_behind_it() public {
        bytes32 a = register(alice, plant, "a", bob);
        bytes32 b = register(bob, a, "b", alice);
        grant(alice, plant, carol, FOREVER, 0, SUBTREE);
        checkPermitted(carol, Action.Publish, "plant/x", Why.Grant, FOREVER);
        checkDenied(carol, Action.Publish, "plant/a/x", Why.NotGranted);
        // Owned by alice again, but bob's space lies between.
        checkDenied(carol, Action.Publish, "plant/a/b/x", Why.NotGranted);
        vm.assertEq(ask(carol, Action.Publish, "plant/a/b/x").node, b, "node");
    }

    function test_what_lies_below_takes_subtree_force() public {
        grant(alice, plant, bob, FOREVER, 0, 0);
        vm.assertTrue(trap.allowed(bob, Action.Publish, "plant", false).permitted, "the name");
        vm.assertTrue(!trap.allowed(bob, Action.Publish, "plant", true).permitted, "not what is below");
        grant(alice, plant, bob, FOREVER, 0, SUBTREE);
        vm.assertTrue(trap.allowed(bob, Action.Publish, "plant", true).permitted, "with subtree");
        vm.assertTrue(trap.allowed(alice, Action.Publish, "plant", true).permitted, "the owner");
        setTerms(plant, terms(Mode.Closed, Mode.Open));
        vm.assertTrue(trap.allowed(carol, Action.Subscribe, "plant", true).permitted, "open");
    }

    function test_dollar_topics_and_bad_topics() public {
        checkDenied(admin, Action.Subscribe, "$SYS/broker", Why.DollarTopic);
        string[4] memory bad = ["", "plant/#", "+/x", "plant/a+b"];
        for (uint256 i = 0; i < bad.length; ++i) {
            vm.expectRevert(IFlyTrap.BadTopic.selector);
            trap.allowed(alice, Action.Subscribe, bad[i], false);
        }
        checkPermitted(alice, Action.Publish, "plant/", Why.Owner, FOREVER);
        checkPermitted(alice, Action.Publish, "plant//x/$y", Why.Owner, FOREVER);
        checkDenied(alice, Action.Publish, "/plant", Why.NoSuchSpace);
    }

    // ---------------------------------------------------------------- against a naive reading of the page

    string[3] private path = ["plant", "plant/a", "plant/a/b"];

    struct Level {
        uint8 owner;
        uint8 mode;
        uint8 flags;
        uint8 until;
        bool newEpoch;
    }

    /// Three levels with random owners, modes, epochs and grants of carol, and topics at and below each of them: going
    /// down the path once comes to the same as the page's steps, which look upwards.
    function testFuzz_the_algorithm_is_the_pages(Level[3] memory levels, bool publish) public {
        Action action = publish ? Action.Publish : Action.Subscribe;
        address[3] memory who = [alice, bob, carol];
        bytes32[3] memory nodes = build(levels, action, who);
        for (uint256 deepest = 0; deepest < 3; ++deepest) {
            for (uint256 exact = 0; exact < 2; ++exact) {
                string memory topic = exact == 1 ? path[deepest] : string.concat(path[deepest], "/other");
                Decision memory d = ask(carol, action, topic);
                uint64 expected = naive(levels, who, deepest, exact == 1, publish);
                vm.assertEq(d.until, expected, topic);
                vm.assertTrue(d.permitted == (expected != 0), "permitted");
                vm.assertEq(d.node, nodes[deepest], "node");
            }
        }
    }

    function build(Level[3] memory levels, Action action, address[3] memory who) private returns (bytes32[3] memory n) {
        string[3] memory names = ["plant2", "a", "b"];
        path = ["plant2", "plant2/a", "plant2/a/b"];
        for (uint256 i = 0; i < 3; ++i) {
            Level memory level = levels[i];
            (level.owner, level.flags, level.until) = (level.owner % 3, level.flags % 8, level.until % 4);
            level.mode %= 3;
            Terms memory t = terms(Mode(level.mode), Mode(level.mode));
            vm.prank(i == 0 ? admin : who[levels[i - 1].owner]);
            n[i] = trap.register(i == 0 ? bytes32(0) : n[i - 1], labels(names[i]), who[level.owner], t);
            uint64 until = end(level.until);
            (uint64 p, uint64 s) = action == Action.Publish ? (until, uint64(0)) : (uint64(0), until);
            grant(who[level.owner], n[i], carol, p, s, level.flags);
            if (level.newEpoch) {
                vm.prank(who[level.owner]);
                trap.startEpoch(n[i]);
            }
        }
    }

    function end(uint8 until) private pure returns (uint64) {
        return [0, START - 1, START + 1, FOREVER][until];
    }

    function naive(Level[3] memory levels, address[3] memory who, uint256 deepest, bool exact, bool publish)
        private
        view
        returns (uint64 latest)
    {
        Level memory g = levels[deepest];
        if (who[g.owner] == carol) return FOREVER;
        bool denied = false;
        for (uint256 i = 0; i <= deepest; ++i) {
            uint256 up = deepest - i;
            Level memory level = levels[up];
            if (level.owner != g.owner) break;
            bool reaches = level.flags & SUBTREE != 0 || (exact && up == deepest);
            if (!reaches) continue;
            if (level.flags & (publish ? DENY_PUBLISH : DENY_SUBSCRIBE) != 0) denied = true;
            uint64 until = level.newEpoch ? 0 : end(level.until);
            if (until > latest) latest = until;
        }
        if (denied) return 0;
        if (latest > START) return latest;
        return Mode(g.mode) == Mode.Open ? FOREVER : 0;
    }
}
