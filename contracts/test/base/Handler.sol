// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {packFacts} from "../../src/BanFacts.sol";
import {DELEGATE_GRANT, DELEGATE_REGISTER, DENIALS, DENY_PUBLISH, SUBTREE} from "../../src/Grant.sol";
import {Action, Ban, Mode, Offer, Space, Summary, Terms} from "../../src/Types.sol";
import {Base} from "./Base.sol";
import {Forcer, Greedy} from "./Owners.sol";
import {Vm, vm} from "./Vm.sol";

/// Random histories: each function is one thing that somebody does. Around each of them, what may not change is seen
/// not to have changed, and the head is computed anew from the events.
contract Handler is Base {
    bytes32[3] public nodes;
    address[4] public wallets;
    bytes24 public head;
    uint64 public seq;
    uint256 public done;

    /// publish until, subscribe until and flags of each wallet in each space
    struct Rights {
        uint64[2][4][3] until;
        uint8[4][3] flags;
    }

    function setUp() public override {
        vm.recordLogs();
        super.setUp();
        address greedy = address(new Greedy());
        wallets = [alice, bob, carol, greedy];
        nodes = [plant, register(alice, plant, "line", alice), register(alice, plant, "flat", greedy)];
        fold();
    }

    /// Reads the events since the last time and follows the head with them.
    function fold() private {
        Vm.Log[] memory logs = vm.getRecordedLogs();
        for (uint256 i = 0; i < logs.length; ++i) {
            // OpenZeppelin's own events say nothing that isn't said with a number as well.
            if (logs[i].emitter != address(trap) || logs[i].topics.length != 2) continue;
            require(uint256(logs[i].topics[1]) == ++seq, "a number is missing");
            head = bytes24(keccak256(abi.encodePacked(head, seq, logs[i].topics[0], keccak256(logs[i].data))));
        }
    }

    function rights() private view returns (Rights memory r) {
        for (uint256 n = 0; n < 3; ++n) {
            for (uint256 w = 0; w < 4; ++w) {
                (, r.until[n][w][0], r.until[n][w][1], r.flags[n][w]) = trap.grantOf(nodes[n], wallets[w]);
            }
        }
    }

    /// Nobody's rights have changed but those of one wallet in one space.
    function checkOthers(Rights memory a, uint256 node, uint256 wallet) private view {
        Rights memory b = rights();
        for (uint256 n = 0; n < 3; ++n) {
            for (uint256 w = 0; w < 4; ++w) {
                if (n == node && w == wallet) continue;
                require(keccak256(abi.encode(a.until[n][w])) == keccak256(abi.encode(b.until[n][w])), "rights changed");
                require(a.flags[n][w] == b.flags[n][w], "flags changed");
            }
        }
    }

    modifier counted() {
        _;
        fold();
        ++done;
    }

    function nobody(Rights memory before) private view {
        checkOthers(before, 9, 9);
    }

    // ---------------------------------------------------------------- owners

    function give(uint8 n, uint8 w, uint8 by, uint64 p, uint64 s, uint8 flags) external counted {
        (n, w, by, flags, p, s) = (n % 3, w % 4, by % 4, flags % 32, near(p), near(s));
        Rights memory before = rights();
        bool may = mayGive(before, n, w, by, flags);
        bool had = before.until[n][w][0] > block.timestamp && before.flags[n][w] & DENY_PUBLISH == 0;
        bool has = p > block.timestamp && flags & DENY_PUBLISH == 0;
        uint256 due = has && !had ? trap.fees().publish : 0;
        vm.deal(wallets[by], due);
        vm.prank(wallets[by]);
        try trap.grantRights{value: due}(nodes[n], input(wallets[w], p, s, flags)) {
            require(may, "a grant without owner or delegate");
            checkOthers(before, n, w);
        } catch {
            require(!may, "who may could not grant");
            nobody(before);
        }
    }

    function mayGive(Rights memory before, uint8 n, uint8 w, uint8 by, uint8 flags) private view returns (bool) {
        if (wallets[by] == ownerOf(nodes[n])) return true;
        bool sameDelegates = (before.flags[n][w] ^ flags) & (DELEGATE_GRANT | DELEGATE_REGISTER) == 0;
        return before.flags[n][by] & DELEGATE_GRANT != 0 && sameDelegates;
    }

    function revoke(uint8 n, uint8 w) external counted {
        (n, w) = (n % 3, w % 4);
        Rights memory before = rights();
        vm.prank(ownerOf(nodes[n]));
        trap.revoke(nodes[n], wallets[w], 0, 0);
        checkOthers(before, n, w);
        (, uint64 p, uint64 s,) = trap.grantOf(nodes[n], wallets[w]);
        require(p == 0 && s == 0, "still there");
    }

    function change(uint8 n, uint88 price, uint32 period, uint8 publish, uint8 subscribe) external counted {
        Rights memory before = rights();
        bytes32 node = nodes[n % 3];
        Terms memory t = priced(price % 1 ether, period % 1000);
        (t.publish, t.subscribe) = (Mode(publish % 3), Mode(subscribe % 3));
        (Space memory space,,) = trap.space(node);
        uint256 due = t.publish == Mode.Open && space.openUntil <= block.timestamp ? trap.fees().publish : 0;
        vm.deal(space.owner, due);
        vm.prank(space.owner);
        trap.setTerms{value: due}(node, t);
        nobody(before);
    }

    function epoch(uint8 n) external counted {
        n %= 3;
        Rights memory before = rights();
        vm.prank(ownerOf(nodes[n]));
        trap.startEpoch(nodes[n]);
        Rights memory r = rights();
        for (uint256 w = 0; w < 4; ++w) {
            require(r.until[n][w][0] == 0 && r.until[n][w][1] == 0, "an old grant survived");
            require(r.flags[n][w] == before.flags[n][w] & (DENIALS | SUBTREE), "flags after an epoch");
        }
    }

    function sell(uint8 n, uint8 to) external counted {
        bytes32 node = nodes[n % 3];
        vm.prank(ownerOf(node));
        trap.offerOwnership(node, wallets[to % 4]);
        vm.prank(wallets[to % 4]);
        trap.acceptOwnership(node);
        require(ownerOf(node) == wallets[to % 4], "owner");
        Rights memory r = rights();
        for (uint256 w = 0; w < 4; ++w) {
            require(r.flags[n % 3][w] & (DELEGATE_GRANT | DELEGATE_REGISTER) == 0, "a delegate survived");
        }
    }

    // ---------------------------------------------------------------- buyers

    function purchase(uint8 n, uint8 w, bool publish, uint8 periods) external counted {
        (n, w) = (n % 3, w % 4);
        Rights memory before = rights();
        (, Offer memory offer,) = trap.space(nodes[n]);
        if ((publish ? offer.publish : offer.subscribe) != Mode.Priced) return;
        Action action = publish ? Action.Publish : Action.Subscribe;
        (uint256 total,, bytes32 hash) = trap.quote(nodes[n], action, periods);
        vm.deal(admin, total);
        uint256 i = publish ? 0 : 1;
        vm.prank(admin);
        try trap.buy{value: total}(nodes[n], wallets[w], action, periods, hash, total) returns (uint64 until) {
            require(before.flags[n][w] & (publish ? 1 : 2) == 0, "a denied wallet paid");
            require(until >= before.until[n][w][i] && until >= block.timestamp, "a right shrank by paying");
            Rights memory r = rights();
            require(r.until[n][w][i] == until && r.until[n][w][1 - i] == before.until[n][w][1 - i], "the other right");
            checkOthers(before, n, w);
        } catch {
            require(admin.balance == total, "paid for nothing");
            nobody(before);
        }
    }

    function keepOpen(uint8 n, uint8 periods) external counted {
        uint32 count = uint32(periods) + 1;
        uint256 due = trap.fees().publish * count;
        vm.deal(bob, due);
        vm.prank(bob);
        trap.keepOpen{value: due}(nodes[n % 3], count);
    }

    // ---------------------------------------------------------------- money

    function withdraw(uint8 w) external counted {
        address wallet = wallets[w % 4];
        uint256 credit = trap.creditOf(wallet);
        if (credit == 0) return;
        uint256 had = treasurer.balance;
        vm.prank(wallet);
        trap.withdraw(payable(treasurer));
        require(treasurer.balance - had == credit && trap.creditOf(wallet) == 0, "withdrawn");
    }

    function sweep() external counted {
        if (address(trap).balance == trap.totalCredits()) return;
        vm.prank(treasurer);
        trap.sweep(payable(treasurer));
        require(address(trap).balance == trap.totalCredits(), "swept more or less than the surplus");
    }

    function force(uint64 amount) external counted {
        vm.deal(address(this), amount);
        new Forcer{value: amount}(payable(address(trap)));
    }

    function charge(uint96 publish, uint16 bps) external counted {
        setFees(1, publish % 1 ether, bps % 2001);
    }

    // ---------------------------------------------------------------- gateways and time

    function report(uint32 ahead, bytes32 target) external counted {
        Rights memory before = rights();
        uint256 money = address(trap).balance;
        Ban[] memory bans = new Ban[](1);
        uint40 until = uint40(block.timestamp) + 1 + ahead % 30 days;
        bans[0] = Ban(bob, packFacts(until, 0, 1, 0), target, target);
        vm.prank(gateway);
        trap.reportBans(bans);
        (uint64 window, uint64 to) = trap.lastAnchor(gateway);
        if (to < block.timestamp) {
            vm.prank(gateway);
            trap.anchor(window + 1, target, ahead, to, uint64(block.timestamp), new Summary[](0));
        }
        nobody(before);
        require(address(trap).balance == money, "a gateway moved money");
    }

    function wait(uint16 time) external counted {
        vm.warp(block.timestamp + time);
    }

    /// Most ends lie around now, where they matter.
    function near(uint64 time) private view returns (uint64) {
        if (time % 7 == 0) return 0;
        if (time % 7 == 1) return type(uint64).max;
        return uint64(block.timestamp) - 100 + time % 1000;
    }

    function credits() external view returns (uint256 sum) {
        for (uint256 w = 0; w < 4; ++w) {
            sum += trap.creditOf(wallets[w]);
        }
    }

    function contractUnderTest() external view returns (address) {
        return address(trap);
    }
}
