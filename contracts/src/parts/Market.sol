// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {Address} from "@openzeppelin/contracts/utils/Address.sol";

import {IFlyTrap} from "../IFlyTrap.sol";
import {DENIALS, Grant, SUBTREE, eraOf} from "../Grant.sol";
import {Action, FOREVER, Mode, Offer, SaleTerms, Space} from "../Types.sol";
import {Grants} from "./Grants.sol";

/// @dev Buying rights, and where the money goes. All ether that is nobody's credit is the broker owner's.
abstract contract Market is Grants {
    /// @dev Enough for a contract wallet to note a payment, too little to be a nuisance.
    uint256 private constant PUSH_GAS = 30_000;

    mapping(address account => uint256) private _credits;
    uint256 private _totalCredits;

    /// @dev The lock lies in a slot that purchases read anyway: OpenZeppelin's has one of its own.
    modifier nonReentrant() {
        if (_settings.paying) revert Reentered();
        _settings.paying = true;
        _;
        _settings.paying = false;
    }

    /// @inheritdoc IFlyTrap
    function buy(bytes32 node, address who, Action action, uint32 periods, bytes32 termsHash, uint256 maxTotal)
        external
        payable
        whenNotPaused
        nonReentrant
        returns (uint64 until)
    {
        if (who == address(0)) revert ZeroAddress();
        SaleTerms memory terms = _saleTerms(node, action);
        bytes32 current = keccak256(abi.encode(terms));
        if (current != termsHash) revert TermsChanged(current);
        (uint256 total, uint256 ownerShare) = _price(terms, periods);
        if (total > maxTotal) revert TooExpensive(total, maxTotal);
        _due(total);
        Grant next = _extend(who, periods, terms);
        _record(Bought.selector, abi.encode(node, who, next, action, msg.sender, total, ownerShare));
        until = next.until(action);
        if (ownerShare != 0) _push(terms.owner, ownerShare);
    }

    /// @inheritdoc IFlyTrap
    function quote(bytes32 node, Action action, uint32 periods) external view returns (uint256, uint256, bytes32) {
        SaleTerms memory terms = _saleTerms(node, action);
        (uint256 total, uint256 ownerShare) = _price(terms, periods);
        return (total, ownerShare, keccak256(abi.encode(terms)));
    }

    function _saleTerms(bytes32 node, Action action) private view returns (SaleTerms memory terms) {
        (Space storage entry, address owner_) = _registered(node);
        Offer memory offer = _offers[node];
        Settings storage settings = _settings;
        terms.node = node;
        terms.action = action;
        terms.owner = owner_;
        terms.epoch = entry.epoch;
        terms.countryPolicy = _countryPolicyOf(node, entry);
        terms.saleBps = settings.saleBps;
        if (action == Action.Publish) {
            (terms.mode, terms.price, terms.period) = (offer.publish, offer.publishPrice, offer.publishPeriod);
            terms.fee = settings.publishFee;
        } else {
            (terms.mode, terms.price, terms.period) = (offer.subscribe, offer.subscribePrice, offer.subscribePeriod);
        }
    }

    /// @dev In full, and what of it is the owner's. A price times periods has at most 120 bits.
    function _price(SaleTerms memory terms, uint256 periods) private pure returns (uint256 total, uint256 ownerShare) {
        if (terms.mode != Mode.Priced) revert NotForSale(terms.node, terms.action);
        uint256 paid = terms.price * periods;
        return (paid + terms.fee, paid - paid * terms.saleBps / 10_000);
    }

    /// @dev The buyer's grant with the periods added.
    function _extend(address who, uint32 periods, SaleTerms memory terms) private returns (Grant next) {
        (bytes32 node, Action action, uint32 period) = (terms.node, terms.action, terms.period);
        uint32 era = eraOf(terms.epoch, _spaces[node].tenure);
        Grant old = _grants[node][who].inForce(era);
        if (old.denies(action)) revert Denied(node, who);
        bool says = old.live(Action.Publish) || old.live(Action.Subscribe) || old.flags() & DENIALS != 0;
        if (says && old.flags() & SUBTREE == 0) revert NarrowGrant(node, who);

        uint64 until = old.until(action);
        if (until == FOREVER) revert AlreadyForever(node, who);
        if (periods == 0 || (period == 0 && periods != 1)) revert BadPeriods(periods);
        if (until < block.timestamp) until = uint64(block.timestamp);
        until = period == 0 ? FOREVER : until + uint64(period) * periods;
        next = old.with(action, until, SUBTREE).dated(era);
        _grants[node][who] = next;
    }

    /// @dev The owner's money, or if he can't take it now, his credit. What he answers isn't even copied.
    function _push(address owner_, uint256 amount) private {
        bool taken;
        assembly ("memory-safe") {
            taken := call(PUSH_GAS, owner_, amount, 0, 0, 0, 0)
        }
        if (taken) return;
        _credits[owner_] += amount;
        _totalCredits += amount;
        _record(Credited.selector, abi.encode(owner_, amount));
    }

    /// @inheritdoc IFlyTrap
    function withdraw(address payable to) external nonReentrant {
        uint256 amount = _credits[msg.sender];
        _credits[msg.sender] = 0;
        _totalCredits -= amount;
        _record(Withdrawn.selector, abi.encode(msg.sender, to, amount));
        _pay(to, amount);
    }

    /// @inheritdoc IFlyTrap
    function sweep(address payable to) external nonReentrant onlyRole(TREASURER) {
        uint256 amount = address(this).balance - _totalCredits;
        _record(Swept.selector, abi.encode(to, amount));
        _pay(to, amount);
    }

    function _pay(address payable to, uint256 amount) private {
        // Zero is refused for the caller's sake: no state depends on it.
        // slither-disable-next-line incorrect-equality
        if (amount == 0) revert NothingToPay();
        if (to == address(0)) revert ZeroAddress();
        Address.sendValue(to, amount);
    }

    /// @inheritdoc IFlyTrap
    function creditOf(address account) external view returns (uint256) {
        return _credits[account];
    }

    /// @inheritdoc IFlyTrap
    function totalCredits() external view returns (uint256) {
        return _totalCredits;
    }
}
