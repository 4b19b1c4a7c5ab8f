// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {ITrap} from "./ITrap.sol";

/// A contract wallet that notes its payments, which takes more than the 2,300 gas of `transfer`.
contract Wallet {
    uint256 public payments;

    receive() external payable {
        ++payments;
    }
}

/// Takes no payment: reverts, burns all gas, or answers with more than anybody wants to read.
contract Greedy {
    uint256 private behaviour;

    function behave(uint256 behaviour_) external {
        behaviour = behaviour_;
    }

    receive() external payable {
        if (behaviour == 1) while (true) {}
        if (behaviour == 2) {
            assembly ("memory-safe") {
                revert(0, 20000)
            }
        }
        revert("no");
    }
}

/// Calls back while it is paid, and keeps the answer.
contract Reentrant {
    ITrap private immutable trap;
    bytes4 private call;
    bytes4 public answer;
    bool private refuse;

    constructor(ITrap trap_) {
        trap = trap_;
    }

    /// Not 0: a push has not the gas for a new slot.
    function attack(bytes4 selector) external {
        (call, answer, refuse) = (selector, 0x11111111, false);
    }

    function refusePush() external {
        refuse = true;
    }

    receive() external payable {
        require(!refuse, "no");
        // Zeros for arguments are enough: the lock comes before what they mean.
        (bool ok, bytes memory reason) = address(trap).call(bytes.concat(call, new bytes(192)));
        answer = ok ? bytes4(0xffffffff) : bytes4(reason);
    }
}

/// Forces ether on whoever has no say in it.
contract Forcer {
    constructor(address payable target) payable {
        selfdestruct(target);
    }
}
