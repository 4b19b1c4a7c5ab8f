// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";

import {IFlyTrap} from "../src/IFlyTrap.sol";
import {DELEGATE_GRANT, DELEGATE_REGISTER} from "../src/Grant.sol";
import {Action, Mode, Space, Terms, Why} from "../src/Types.sol";
import {Base} from "./base/Base.sol";
import {vm} from "./base/Vm.sol";

/// The tree of names, and who may add to it.
contract NamesTest is Base {
    Terms internal closed;

    function test_nodes_are_hashes_of_parent_and_label_hash() public view {
        bytes32 top = keccak256(abi.encode(bytes32(0), keccak256("plant")));
        vm.assertEq(plant, top, "top level");
        vm.assertEq(trap.child(plant, "line1"), keccak256(abi.encode(top, keccak256("line1"))), "below");
        vm.assertEq(ownerOf(plant), alice, "owner");
    }

    function test_the_owner_registers_below_and_tells_it() public {
        Terms memory t = priced(5, 60);
        t.sensitive = true;
        bytes32 node = trap.child(plant, "line1");
        vm.expectEmit();
        emit IFlyTrap.SpaceRegistered(nextSeq(), node, plant, keccak256("line1"), bob, alice, "line1");
        vm.expectEmit();
        emit IFlyTrap.TermsSet(nextSeq() + 1, node, t, 0);
        vm.prank(alice);
        vm.assertEq(trap.register(plant, labels("line1"), bob, t), node, "node");
        (Space memory space,,) = trap.space(node);
        vm.assertTrue(space.sensitive, "sensitive");
        vm.assertEq(space.owner, bob, "owner");
    }

    function test_others_do_not() public {
        vm.expectRevert(refused(plant, bob));
        register(bob, plant, "line1", bob);
        // Who sold it isn't its owner any more, nor is the administrator.
        vm.expectRevert(refused(plant, admin));
        register(admin, plant, "line1", admin);
    }

    function test_the_top_level_is_the_administrators() public {
        vm.expectRevert(
            abi.encodeWithSelector(IAccessControl.AccessControlUnauthorizedAccount.selector, alice, bytes32(0))
        );
        register(alice, 0, "office", alice);
        register(admin, 0, "office", admin);
    }

    function test_a_name_is_registered_once() public {
        vm.expectRevert(abi.encodeWithSelector(IFlyTrap.AlreadyRegistered.selector, plant));
        register(admin, 0, "plant", bob);
        bytes32 hash = keccak256("plant");
        vm.expectRevert(abi.encodeWithSelector(IFlyTrap.AlreadyRegistered.selector, plant));
        vm.prank(admin);
        trap.registerHash(0, hash, bob, closed);
    }

    function test_what_is_above_must_be_registered() public {
        bytes32 nowhere = trap.child(0, "nowhere");
        vm.expectRevert(abi.encodeWithSelector(IFlyTrap.NotRegistered.selector, nowhere));
        register(alice, nowhere, "x", alice);
    }

    function test_an_owner_is_somebody() public {
        vm.expectRevert(IFlyTrap.ZeroAddress.selector);
        register(alice, plant, "line1", address(0));
    }

    // ---------------------------------------------------------------- paths

    function test_a_path_is_registered_in_one_call() public {
        vm.prank(alice);
        bytes32 c = trap.register(plant, labels("a", "b", "c"), carol, terms(Mode.Closed, Mode.Open));
        bytes32 a = trap.child(plant, "a");
        bytes32 b = trap.child(a, "b");
        vm.assertEq(c, trap.child(b, "c"), "node");
        vm.assertTrue(ownerOf(a) == carol && ownerOf(b) == carol && ownerOf(c) == carol, "owners");
        // The terms are the last one's.
        checkPermitted(bob, Action.Subscribe, "plant/a/b/c", Why.Open, type(uint64).max);
        checkDenied(bob, Action.Subscribe, "plant/a/b", Why.NotGranted);
    }

    function test_a_path_goes_on_where_it_exists() public {
        register(alice, plant, "a", alice);
        vm.prank(alice);
        bytes32 c = trap.register(plant, labels("a", "b", "c"), alice, closed);
        vm.assertEq(ownerOf(c), alice, "owner");
        vm.expectRevert(abi.encodeWithSelector(IFlyTrap.AlreadyRegistered.selector, c));
        vm.prank(alice);
        trap.register(plant, labels("a", "b", "c"), alice, closed);
        vm.expectRevert(abi.encodeWithSelector(IFlyTrap.AlreadyRegistered.selector, plant));
        vm.prank(alice);
        trap.register(plant, new string[](0), alice, closed);
    }

    function test_a_path_does_not_lead_through_a_sold_space() public {
        bytes32 a = register(alice, plant, "a", bob);
        vm.expectRevert(refused(a, alice));
        vm.prank(alice);
        trap.register(plant, labels("a", "b", "c"), alice, closed);
    }

    // ---------------------------------------------------------------- labels

    function test_good_labels() public {
        register(alice, plant, "a", alice);
        register(alice, plant, "line 1", alice);
        register(alice, plant, "a$", alice);
        register(alice, plant, unicode"straße", alice);
        register(alice, plant, "0123456789012345678901234567890123456789012345678901234567890123", alice);
    }

    function test_bad_labels() public {
        string[9] memory bad = [
            "",
            "#",
            "+",
            "a/b",
            "a+",
            "a#",
            "a\x00b",
            "$SYS",
            "01234567890123456789012345678901234567890123456789012345678901234"
        ];
        for (uint256 i = 0; i < bad.length; ++i) {
            vm.expectRevert(abi.encodeWithSelector(IFlyTrap.BadLabel.selector, 0));
            register(alice, plant, bad[i], alice);
        }
        vm.expectRevert(abi.encodeWithSelector(IFlyTrap.BadLabel.selector, 1));
        vm.prank(alice);
        trap.register(plant, labels("a", "#", "b"), alice, closed);
    }

    function testFuzz_label_rules(bytes memory label, uint8 cut, uint8 where, uint8 what) public {
        // Random bytes alone hardly ever hit the limits.
        uint256 length = uint256(cut) % 70;
        if (label.length > length) {
            assembly ("memory-safe") {
                mstore(label, length)
            }
        }
        bytes memory special = "/+#$\x00a";
        if (label.length != 0) label[where % label.length] = special[what % 6];
        bool good = label.length > 0 && label.length <= 64 && label[0] != "$";
        for (uint256 i = 0; i < label.length; ++i) {
            bytes1 c = label[i];
            good = good && c != "/" && c != "+" && c != "#" && c != 0;
        }
        if (!good) vm.expectRevert(abi.encodeWithSelector(IFlyTrap.BadLabel.selector, 0));
        register(alice, plant, string(label), alice);
    }

    function test_by_hash_no_name_is_told() public {
        bytes32 hash = keccak256("alice's bedroom");
        bytes32 node = trap.child(plant, "alice's bedroom");
        vm.expectEmit();
        emit IFlyTrap.SpaceRegistered(nextSeq(), node, plant, hash, alice, alice, "");
        vm.prank(alice);
        vm.assertEq(trap.registerHash(plant, hash, alice, terms(Mode.Closed, Mode.Open)), node, "node");
        checkPermitted(bob, Action.Subscribe, "plant/alice's bedroom/lamp", Why.Open, type(uint64).max);

        vm.expectRevert(refused(plant, bob));
        vm.prank(bob);
        trap.registerHash(plant, keccak256("x"), bob, closed);
    }

    function test_wildcards_and_nothing_have_known_hashes() public {
        string[3] memory bad = ["", "+", "#"];
        for (uint256 i = 0; i < bad.length; ++i) {
            bytes32 hash = keccak256(bytes(bad[i]));
            vm.expectRevert(abi.encodeWithSelector(IFlyTrap.BadLabelHash.selector, hash));
            vm.prank(alice);
            trap.registerHash(plant, hash, alice, closed);
        }
    }

    // ---------------------------------------------------------------- delegates

    function test_a_delegate_registers_for_the_owner_only() public {
        grant(alice, plant, bob, 0, 0, DELEGATE_REGISTER);
        vm.assertEq(ownerOf(register(bob, plant, "a", alice)), alice, "owner");
        vm.expectRevert(refused(plant, bob));
        register(bob, plant, "b", bob);
        // The other kind of delegate doesn't.
        grant(alice, plant, carol, 0, 0, DELEGATE_GRANT);
        vm.expectRevert(refused(plant, carol));
        register(carol, plant, "b", alice);
    }

    // ---------------------------------------------------------------- open below

    function test_below_an_opened_root_anybody_registers_for_the_fee() public {
        setFees(1 ether, 0, 0);
        bytes32 root = register(admin, 0, "public", admin);
        vm.expectRevert(refused(root, bob));
        register(bob, root, "b", bob);

        vm.expectEmit();
        emit IFlyTrap.OpenBelowSet(nextSeq(), root, true);
        vm.prank(admin);
        trap.setOpenBelow(root, true);

        vm.expectRevert(abi.encodeWithSelector(IFlyTrap.WrongValue.selector, 1 ether, 0));
        register(bob, root, "b", bob);
        vm.prank(bob);
        bytes32 b = trap.register{value: 1 ether}(root, labels("b"), bob, closed);
        vm.assertEq(ownerOf(b), bob, "owner");
        // Each new space costs; below one's own, none.
        vm.expectRevert(abi.encodeWithSelector(IFlyTrap.WrongValue.selector, 3 ether, 1 ether));
        vm.prank(carol);
        trap.register{value: 1 ether}(root, labels("c", "d", "e"), carol, closed);
        vm.prank(carol);
        trap.register{value: 3 ether}(root, labels("c", "d", "e"), carol, closed);
        register(bob, b, "own", bob);
        vm.prank(carol);
        trap.registerHash{value: 1 ether}(root, keccak256("secret"), carol, closed);
        vm.assertEq(address(trap).balance, 5 ether, "fees");
        // Openness is for the root, not for what lies below it.
        vm.expectRevert(refused(b, carol));
        register(carol, b, "x", carol);
    }

    function test_only_the_administrator_opens_and_only_his_own() public {
        vm.expectRevert(refused(plant, admin));
        vm.prank(admin);
        trap.setOpenBelow(plant, true);
        vm.expectRevert(refused(plant, alice));
        vm.prank(alice);
        trap.setOpenBelow(plant, true);
        vm.expectRevert(abi.encodeWithSelector(IFlyTrap.NotRegistered.selector, bytes32(0)));
        vm.prank(admin);
        trap.setOpenBelow(0, true);
    }

    function test_an_opened_root_is_closed_by_owner_administrator_or_hand_over() public {
        bytes32 root = register(admin, 0, "public", admin);
        vm.prank(admin);
        trap.setOpenBelow(root, true);
        vm.expectRevert(refused(root, bob));
        vm.prank(bob);
        trap.setOpenBelow(root, false);
        vm.prank(admin);
        trap.setOpenBelow(root, false);
        vm.expectRevert(refused(root, bob));
        register(bob, root, "b", bob);

        vm.prank(admin);
        trap.setOpenBelow(root, true);
        vm.prank(admin);
        trap.offerOwnership(root, alice);
        vm.prank(alice);
        trap.acceptOwnership(root);
        vm.expectRevert(refused(root, bob));
        register(bob, root, "b", bob);
        vm.prank(alice);
        trap.setOpenBelow(root, false);
    }
}
