// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {Address} from "@openzeppelin/contracts/utils/Address.sol";
import {ReentrancyGuard} from "@openzeppelin/contracts/utils/ReentrancyGuard.sol";

import {IFlyTrap} from "../IFlyTrap.sol";
import {Action, FOREVER, Fees, Flags, Grant, Mode, Offer, Space} from "../Types.sol";
import {Grants} from "./Grants.sol";

/// @dev Buying rights, and where the money goes. All ether that is nobody's credit is the broker owner's.
abstract contract Market is Grants, ReentrancyGuard {
    /// @dev Enough for a contract wallet to note a payment, too little to be a nuisance.
    uint256 private constant PUSH_GAS = 30_000;

    mapping(address account => uint256) private _credits;
    uint256 private _totalCredits;

    /// @dev One purchase as its terms are now.
    struct Sale {
        address owner;
        uint32 period;
        bool onSale;
        uint256 total;
        uint256 ownerShare;
        bytes32 termsHash;
    }

    /// @inheritdoc IFlyTrap
    function buy(bytes32 node, address who, Action action, uint32 periods, bytes32 termsHash, uint256 maxTotal)
        external
        payable
        nonReentrant
        whenNotPaused
        returns (uint64 until)
    {
        if (who == address(0)) revert ZeroAddress();
        Sale memory sale = _sale(node, action, periods);
        if (sale.termsHash != termsHash) revert TermsChanged(sale.termsHash);
        if (!sale.onSale) revert NotForSale(node, action);
        if (sale.total > maxTotal) revert TooExpensive(sale.total, maxTotal);
        _due(sale.total);
        until = _extend(node, who, action, periods, sale.period);
        _record(
            Bought.selector,
            abi.encode(node, who, action, periods, until, msg.sender, sale.total, sale.ownerShare)
        );
        if (sale.ownerShare != 0) _push(sale.owner, sale.ownerShare);
    }

    /// @inheritdoc IFlyTrap
    function quote(bytes32 node, Action action, uint32 periods) external view returns (uint256, uint256, bytes32) {
        Sale memory sale = _sale(node, action, periods);
        if (!sale.onSale) revert NotForSale(node, action);
        return (sale.total, sale.ownerShare, sale.termsHash);
    }

    function _sale(bytes32 node, Action action, uint32 periods) private view returns (Sale memory sale) {
        Space storage entry = _registered(node);
        Offer memory offer = _offers[node];
        Fees memory charged = _settings.fees;
        (Mode mode, uint256 price, uint256 flat) = (offer.subscribe, offer.subscribePrice, 0);
        sale.period = offer.subscribePeriod;
        if (action == Action.Publish) {
            (mode, price, flat) = (offer.publish, offer.publishPrice, charged.publish);
            sale.period = offer.publishPeriod;
        }
        sale.owner = entry.owner;
        sale.onSale = mode == Mode.Priced;
        uint256 paid = price * periods;
        sale.total = paid + flat;
        sale.ownerShare = paid - paid * charged.saleBps / 10_000;
        sale.termsHash = keccak256(
            abi.encode(
                node, action, mode, price, sale.period, entry.epoch, sale.owner, _countryPolicyOf[node], flat,
                charged.saleBps
            )
        );
    }

    /// @dev The buyer's grant with the periods added; the right's new end.
    function _extend(bytes32 node, address who, Action action, uint32 periods, uint32 period)
        private
        returns (uint64 until)
    {
        Grant memory own = _inForce(_grants[node][who], _spaces[node]);
        if (own.flags & Flags.denial(action) != 0) revert Denied(node, who);
        bool holds = own.publishUntil > block.timestamp || own.subscribeUntil > block.timestamp;
        if (own.flags & Flags.SUBTREE == 0 && (holds || own.flags & Flags.DENIALS != 0)) revert NarrowGrant(node, who);

        until = action == Action.Publish ? own.publishUntil : own.subscribeUntil;
        if (until == FOREVER) revert AlreadyForever(node, who);
        if (periods == 0 || (period == 0 && periods != 1)) revert BadPeriods(periods);
        if (until < block.timestamp) until = uint64(block.timestamp);
        until = period == 0 ? FOREVER : until + uint64(period) * periods;

        if (action == Action.Publish) own.publishUntil = until;
        else own.subscribeUntil = until;
        own.flags |= Flags.SUBTREE;
        _grants[node][who] = own;
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
