// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {Handler} from "./base/Handler.sol";
import {ITrap} from "./base/ITrap.sol";
import {vm} from "./base/Vm.sol";

/// What holds after every history. What holds for each step is checked by the handler.
contract InvariantsTest {
    Handler private handler;
    ITrap private trap;

    function setUp() public {
        handler = new Handler();
        handler.setUp();
        trap = ITrap(handler.contractUnderTest());
    }

    function targetContracts() public view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    function targetSelectors() public view returns (FuzzSelector[] memory targets) {
        bytes4[] memory steps = new bytes4[](13);
        steps[0] = Handler.give.selector;
        steps[1] = Handler.revoke.selector;
        steps[2] = Handler.change.selector;
        steps[3] = Handler.epoch.selector;
        steps[4] = Handler.sell.selector;
        steps[5] = Handler.purchase.selector;
        steps[6] = Handler.keepOpen.selector;
        steps[7] = Handler.withdraw.selector;
        steps[8] = Handler.sweep.selector;
        steps[9] = Handler.force.selector;
        steps[10] = Handler.charge.selector;
        steps[11] = Handler.report.selector;
        steps[12] = Handler.wait.selector;
        targets = new FuzzSelector[](1);
        targets[0] = FuzzSelector(address(handler), steps);
    }

    function invariant_the_balance_covers_the_credits() public view {
        vm.assertLe(trap.totalCredits(), address(trap).balance, "credits without money");
        vm.assertEq(trap.totalCredits(), handler.credits(), "the sum of the credits");
    }

    function invariant_the_head_follows_from_the_events() public view {
        (bytes24 hash, uint64 seq) = trap.head();
        vm.assertEq(seq, handler.seq(), "seq");
        vm.assertEq(bytes32(hash), bytes32(handler.head()), "head");
    }
}
