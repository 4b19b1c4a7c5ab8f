// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {IFlyTrap} from "../src/IFlyTrap.sol";
import {FOREVER, MAX_SKEW} from "../src/Types.sol";
import {Base} from "./base/Base.sol";
import {vm} from "./base/Vm.sol";

/// Device keys, and voiding tokens.
contract WalletsTest is Base {
    bytes private key32 = abi.encode(keccak256("key"));
    bytes private key33 = bytes.concat(bytes1(0x03), keccak256("key"));

    function set(address as_, uint8 kind, uint64 until, bytes memory key, bytes32 scope) private returns (bytes32) {
        vm.prank(as_);
        return trap.setDeviceKey(kind, until, key, scope);
    }

    function test_keys_of_all_kinds() public {
        for (uint8 kind = 4; kind <= 7; ++kind) {
            bytes memory key = kind < 6 ? key33 : key32;
            bytes32 id = keccak256(abi.encodePacked(kind, bob, key));
            vm.expectEmit();
            emit IFlyTrap.DeviceKeySet(nextSeq(), bob, id, kind, FOREVER, key, plant);
            vm.assertEq(set(bob, kind, FOREVER, key, plant), id, "id");
            vm.expectEmit();
            emit IFlyTrap.DeviceKeyRemoved(nextSeq(), bob, id);
            vm.prank(bob);
            trap.removeDeviceKey(kind, key);
        }
        key33[0] = 0x02;
        set(bob, 4, START + 1, key33, 0);
    }

    function test_nobody_captures_another_wallets_device() public {
        bytes32 bobs = set(bob, 6, FOREVER, key32, 0);
        vm.assertTrue(set(carol, 6, FOREVER, key32, 0) != bobs, "another id");
        vm.expectEmit();
        emit IFlyTrap.DeviceKeyRemoved(nextSeq(), carol, keccak256(abi.encodePacked(uint8(6), carol, key32)));
        vm.prank(carol);
        trap.removeDeviceKey(6, key32);
        // The same bytes as another kind are another key.
        vm.assertTrue(set(bob, 7, FOREVER, key32, 0) != bobs, "kind");
    }

    function test_bad_keys_are_refused() public {
        bytes memory odd = bytes.concat(bytes1(0x04), keccak256("key"));
        bytes[8] memory keys = [key32, key32, odd, odd, key33, key33, key32, key33];
        uint8[8] memory kinds = [4, 5, 4, 5, 6, 7, 3, 8];
        for (uint256 i = 0; i < keys.length; ++i) {
            vm.expectRevert(IFlyTrap.BadDeviceKey.selector);
            set(bob, kinds[i], FOREVER, keys[i], 0);
            vm.expectRevert(IFlyTrap.BadDeviceKey.selector);
            vm.prank(bob);
            trap.removeDeviceKey(kinds[i], keys[i]);
        }
        vm.expectRevert(IFlyTrap.BadDeviceKey.selector);
        set(bob, 8, FOREVER, key32, 0);
        vm.expectRevert(IFlyTrap.BadDeviceKey.selector);
        set(bob, 6, START, key32, 0);
        vm.expectRevert(abi.encodeWithSelector(IFlyTrap.NotRegistered.selector, bytes32(uint256(1))));
        set(bob, 6, FOREVER, key32, bytes32(uint256(1)));
    }

    function test_tokens_are_voided_up_to_a_little_ahead() public {
        vm.assertEq(MAX_SKEW, 300, "skew");
        vm.expectEmit();
        emit IFlyTrap.TokensRevoked(nextSeq(), bob, START + 300);
        vm.prank(bob);
        trap.revokeTokensBefore(START + 300);
        vm.prank(bob);
        trap.revokeTokensBefore(0);
        vm.expectRevert(abi.encodeWithSelector(IFlyTrap.BadTime.selector, START + 300));
        vm.prank(bob);
        trap.revokeTokensBefore(START + 301);
    }
}
