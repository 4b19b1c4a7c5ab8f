// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {Grant} from "./Grant.sol";
import {Action, Ban, Decision, Fees, GrantInput, Mode, Offer, Space, Summary, Terms} from "./Types.sol";

/// @title FlyTrap: who owns which MQTT topics, who may use them, and what gateways saw
/// @notice Times are unix seconds, money is wei. Every change emits one event of this interface with the next `seq`,
/// its first topic. All else is in the data, so that the rolling head covers it:
/// head' = first 24 bytes of keccak256(head, seq, topic0, keccak256(data)).
interface IFlyTrap {
    // ---------------------------------------------------------------- events

    /// @notice `label` is empty where the space was registered by hash.
    event SpaceRegistered(
        uint64 indexed seq, bytes32 node, bytes32 parent, bytes32 labelHash, address owner, address by, string label
    );
    event TermsSet(uint64 indexed seq, bytes32 node, Terms terms, uint40 openUntil);
    /// @notice All grants of earlier epochs have ended. Denials stand.
    event EpochStarted(uint64 indexed seq, bytes32 node, uint16 epoch);
    /// @notice Open publishing is paid until `openUntil`.
    event OpenKept(uint64 indexed seq, bytes32 node, uint40 openUntil, address by, uint256 paid);
    event OpenBelowSet(uint64 indexed seq, bytes32 node, bool open);
    /// @notice To the zero address: the offer is taken back.
    event OwnershipOffered(uint64 indexed seq, bytes32 node, address to);
    /// @notice Delegates of the old owner have ended, as have offers and reclaims.
    event OwnerChanged(uint64 indexed seq, bytes32 node, address from, address to);
    event ReclaimStarted(uint64 indexed seq, bytes32 node, address to, uint64 notBefore);
    event ReclaimStopped(uint64 indexed seq, bytes32 node, address by);
    /// @notice The policy of this id exists from now on.
    event CountryPolicyStored(uint64 indexed seq, bytes32 id, bool allow, uint256[3] map);

    /// @notice The slot of this wallet's grant is now exactly this, or 0 if it has no right, denial or delegation.
    event Granted(uint64 indexed seq, bytes32 node, address wallet, Grant grant, bytes32 commitment, address by);
    /// @notice The same, and who paid how much for it.
    event Bought(
        uint64 indexed seq,
        bytes32 node,
        address wallet,
        Grant grant,
        Action action,
        address payer,
        uint256 paid,
        uint256 ownerShare
    );
    /// @notice A share could not be delivered and waits to be withdrawn.
    event Credited(uint64 indexed seq, address account, uint256 amount);
    event Withdrawn(uint64 indexed seq, address account, address to, uint256 amount);
    event Swept(uint64 indexed seq, address to, uint256 amount);
    event FeesProposed(uint64 indexed seq, Fees fees, uint64 notBefore);
    event FeesSet(uint64 indexed seq, Fees fees);
    event PausedSet(uint64 indexed seq, bool paused, address by);

    event RoleSet(uint64 indexed seq, bytes32 role, address account, bool held, address by);
    /// @notice To the zero address: the offer is taken back.
    event AdminOffered(uint64 indexed seq, address to, uint64 notBefore);
    /// @notice For people: a gateway follows only what its operator configures.
    event SuccessorAnnounced(uint64 indexed seq, address successor, uint64 notBefore);

    /// @notice `seq` is the ban's number.
    event BanReported(uint64 indexed seq, address gateway, Ban ban);
    event BansLifted(uint64 indexed seq, address gateway, uint256[] bans, address by);
    event Anchored(
        uint64 indexed seq,
        address gateway,
        uint64 window,
        bytes32 root,
        uint32 count,
        uint64 from,
        uint64 to,
        Summary[] summaries
    );

    event DeviceKeySet(
        uint64 indexed seq, address wallet, bytes32 keyId, uint8 kind, uint64 until, bytes publicKey, bytes32 scope
    );
    event DeviceKeyRemoved(uint64 indexed seq, address wallet, bytes32 keyId);
    /// @notice Login tokens that the wallet or a device of it issued up to this second are void; the latest time counts.
    event TokensRevoked(uint64 indexed seq, address wallet, uint64 before);

    // ---------------------------------------------------------------- errors

    /// @notice No space is registered there; register it, and what is above it, first.
    error NotRegistered(bytes32 node);
    error AlreadyRegistered(bytes32 node);
    /// @notice Neither the owner, nor a delegate who may do this.
    error NotPermitted(bytes32 node, address account);
    /// @notice The label at `index` of the path: labels have 1 to 64 bytes, none of `/`, `+`, `#`, NUL, and no leading `$`.
    error BadLabel(uint256 index);
    /// @notice The hash of an empty label, of `+` or of `#`.
    error BadLabelHash(bytes32 labelHash);
    /// @notice A topic has at least one character, and no wildcards.
    error BadTopic();
    error ZeroAddress();
    /// @notice Store the policy first.
    error UnknownCountryPolicy(bytes32 id);
    /// @notice Bits beyond ZZ are set.
    error BadCountryMap();
    /// @notice Two capital letters.
    error BadCountry(bytes2 code);
    /// @notice Bits are set that mean nothing, or are the contract's own.
    error BadGrant(Grant grant);
    /// @notice Only the owner makes and ends delegates.
    error OnlyOwnerDelegates(bytes32 node, address wallet);
    /// @notice Send exactly `due` wei.
    error WrongValue(uint256 due, uint256 sent);
    /// @notice Read `quote` again; `current` is the hash of the terms as they are now.
    error TermsChanged(bytes32 current);
    error NotForSale(bytes32 node, Action action);
    error TooExpensive(uint256 total, uint256 maxTotal);
    /// @notice The owner denies it to this wallet; paying doesn't help.
    error Denied(bytes32 node, address wallet);
    /// @notice There is nothing left to buy.
    error AlreadyForever(bytes32 node, address wallet);
    /// @notice The wallet's grant is for the space's name alone, and buying would widen it; the owner can.
    error NarrowGrant(bytes32 node, address wallet);
    /// @notice At least 1; exactly 1 where the period is 0.
    error BadPeriods(uint32 periods);
    /// @notice A guardian paused purchases and registrations.
    error Paused();
    error NothingToPay();
    /// @notice Share at most `MAX_SALE_BPS`, open period a day to ten years.
    error BadFees();
    /// @notice The administrator's role only changes hands by `offerAdmin` and `acceptAdmin`.
    error OnlyByHandOver();
    /// @notice A call from within a payment.
    error Reentered();
    error NothingPending();
    /// @notice Only from `notBefore` on.
    error TooEarly(uint64 notBefore);
    /// @notice Needs an end within `MAX_BAN`, a wallet or a target, and a prefix of at most 128 bits.
    error BadBan(uint256 index);
    /// @notice Only the gateway that reported, and guardians.
    error NotYourBans(address gateway);
    /// @notice Numbers have no gap: the next window is `window` and begins at `from`; it must end later and not in the
    /// future.
    error BadAnchor(uint64 window, uint64 from);
    /// @notice Kinds 4 and 5: 33 bytes, compressed. Kinds 6 and 7: 32 bytes. The end lies in the future.
    error BadDeviceKey();
    /// @notice At most `MAX_SKEW` ahead of the chain's clock.
    error BadTime(uint64 latest);

    // ---------------------------------------------------------------- names and terms

    /// @notice Registers the spaces on a path that don't exist yet; the last must be new.
    /// @dev Free for who owns (or may register for the owner of) the deepest registered space on the way; below an
    /// opened root everybody may, for the create fee of each new space. Where `terms.publish` is Open, the publish fee
    /// is due for its first period. New levels on the way are closed.
    /// @param parent Node to begin at; 0: the top level, which is the administrator's.
    /// @param path Labels below `parent`, outermost first; at least one.
    /// @param owner Of every new space. A delegate can only name the owner of the space it is delegate in.
    /// @param terms Of the last space.
    /// @return node The last space's.
    function register(bytes32 parent, string[] calldata path, address owner, Terms calldata terms)
        external
        payable
        returns (bytes32 node);

    /// @notice Registers one space without telling its name: for labels that are personal.
    /// @param labelHash keccak256 of the label.
    function registerHash(bytes32 parent, bytes32 labelHash, address owner, Terms calldata terms)
        external
        payable
        returns (bytes32 node);

    /// @notice Changes all terms. The owner's. What was bought or granted stays.
    /// @dev Pays the publish fee where publishing becomes open and isn't paid for.
    function setTerms(bytes32 node, Terms calldata terms) external payable;

    /// @notice Ends all grants and delegations in this space at once. The owner's. Denials stand.
    function startEpoch(bytes32 node) external;

    /// @notice Keeps open publishing open for `periods` fee periods more; anybody may pay.
    function keepOpen(bytes32 node, uint32 periods) external payable;

    /// @notice Lets everybody register below a space for the create fee. The administrator's, for spaces that he owns
    /// himself; the space's owner can end it too.
    function setOpenBelow(bytes32 node, bool open) external;

    /// @notice First step of handing over a space; `to` = 0 takes the offer back.
    function offerOwnership(bytes32 node, address to) external;

    /// @notice Second step, by the new owner. Grants go on: `startEpoch` ends them.
    function acceptOwnership(bytes32 node) external;

    /// @notice Begins to give a space whose owner's key is lost to `to`. The administrator's.
    function startReclaim(bytes32 node, address to) external;

    /// @notice Stops it: by the owner, who is there after all, or the administrator.
    function stopReclaim(bytes32 node) external;

    /// @notice Ends it, `RECLAIM_DELAY` after its beginning; by the new owner.
    function finishReclaim(bytes32 node) external;

    /// @notice Stores a policy for ever. Anybody may; storing it again does nothing.
    /// @param allow The listed countries come in; false: they stay out.
    /// @param map Bit 26 * (first letter - A) + (second letter - A) for each ISO 3166 alpha-2 code, over three words.
    /// @return id keccak256(abi.encode(allow, map)).
    function storeCountryPolicy(bool allow, uint256[3] calldata map) external returns (bytes32 id);

    // ---------------------------------------------------------------- grants

    /// @notice Sets grants of one space; by its owner or a delegate for grants.
    /// @dev The publish fee is due for each wallet that gets a publish right and had none.
    function grantRights(bytes32 node, GrantInput[] calldata grants) external payable;

    /// @notice Ends a wallet's grant. What isn't closed is denied to it, so it can't buy its way back.
    function revoke(bytes32 node, address wallet, uint16 reason, bytes32 commitment) external;

    /// @notice The one algorithm: whether a wallet may do something at a topic now. Countries and bans are left to the
    /// gateway, which knows them.
    /// @param below Not at the topic but at all that lies below it in no space of its own: this is what a filter asks of
    /// the levels before its first wildcard.
    function allowed(address wallet, Action action, string calldata topic, bool below)
        external
        view
        returns (Decision memory);

    // ---------------------------------------------------------------- money

    /// @notice Buys or renews a right, with SUBTREE force, for `who`.
    /// @dev What was bought is not safe from the owner: he can end it, by denial, epoch or grant, without paying back.
    /// Only this space's denials are looked at: ask `allowed` before you pay.
    /// @param periods At least 1; exactly 1 where the period is 0.
    /// @param termsHash From `quote`: nothing can change between reading and paying.
    /// @param maxTotal Most that the buyer will pay; `msg.value` must be the exact total.
    /// @return until The right's new end.
    function buy(bytes32 node, address who, Action action, uint32 periods, bytes32 termsHash, uint256 maxTotal)
        external
        payable
        returns (uint64 until);

    /// @notice What `buy` costs now, of which the owner gets `ownerShare`, and the hash of the terms.
    function quote(bytes32 node, Action action, uint32 periods)
        external
        view
        returns (uint256 total, uint256 ownerShare, bytes32 termsHash);

    /// @notice Pays out the caller's credit to `to`.
    function withdraw(address payable to) external;

    /// @notice Pays out all that is nobody's credit: fees, and ether that was forced in. The treasurer's.
    function sweep(address payable to) external;

    /// @notice Announces other fees; they hold `FEE_DELAY` later at the earliest. The treasurer's.
    function proposeFees(Fees calldata next) external;

    /// @notice Puts announced fees in force; the last announcement alone counts. Anybody's.
    /// @param notBefore As `FeesProposed` told it.
    function applyFees(Fees calldata next, uint64 notBefore) external;

    // ---------------------------------------------------------------- administration

    /// @notice First step of handing over the administration; `to` = 0 takes the offer back. The administrator's.
    function offerAdmin(address to) external;

    /// @notice Second step, by the new administrator, after the delay.
    function acceptAdmin() external;

    /// @notice Stops or allows purchases and registrations, nothing else. The guardian's.
    function setPaused(bool pause) external;

    /// @notice Tells people of a new contract. The administrator's; `account` = 0 takes it back.
    function announceSuccessor(address account) external;

    // ---------------------------------------------------------------- gateways

    /// @notice Puts bans on record. A gateway's. They are in events alone.
    function reportBans(Ban[] calldata bans) external;

    /// @notice Lifts bans that `gateway` reported; by itself or a guardian.
    /// @param bans Their numbers. Others than that gateway's have no effect.
    function liftBans(address gateway, uint256[] calldata bans) external;

    /// @notice Puts the Merkle root of a window of access records on record. A gateway's.
    /// @param window 1 for the first, then the last one + 1.
    /// @param from End of the last window; free for the first.
    /// @param to Later than `from`, at most `MAX_SKEW` ahead.
    function anchor(uint64 window, bytes32 root, uint32 count, uint64 from, uint64 to, Summary[] calldata summaries)
        external;

    /// @notice Whether a record belongs to a root. That the root was anchored is told by `Anchored`.
    /// @param record keccak256(16-byte blind, record).
    function verifyInclusion(
        bytes32 root,
        address gateway,
        uint64 window,
        uint32 index,
        bytes32 record,
        bytes32[] calldata proof
    ) external pure returns (bool);

    /// @notice The last window that a gateway anchored, and its end.
    function lastAnchor(address gateway) external view returns (uint64 window, uint64 to);

    // ---------------------------------------------------------------- wallets

    /// @notice Lets a device's key log in for the caller.
    /// @param kind 4 secp256k1, 5 P-256, 6 Ed25519, 7 SHA-256 of a certificate's public-key info.
    /// @param until In the future; `FOREVER`: until it is removed.
    /// @param scope Space that the key is confined to; 0: none.
    /// @return keyId keccak256(kind, wallet, publicKey), packed.
    function setDeviceKey(uint8 kind, uint64 until, bytes calldata publicKey, bytes32 scope)
        external
        returns (bytes32 keyId);

    /// @notice Ends a key of the caller.
    function removeDeviceKey(uint8 kind, bytes calldata publicKey) external;

    /// @notice Voids the login tokens that the caller and its devices issued up to a time.
    /// @param time At most `MAX_SKEW` ahead.
    function revokeTokensBefore(uint64 time) external;

    // ---------------------------------------------------------------- reading

    /// @notice The rolling hash over all events, and the number of the last.
    function head() external view returns (bytes24 hash, uint64 seq);

    /// @notice The node of a label below a parent: keccak256(parent, keccak256(label)).
    function child(bytes32 parent, string calldata label) external pure returns (bytes32);

    /// @notice A space as it is stored; owner 0: not registered.
    function space(bytes32 node) external view returns (Space memory first, Offer memory second, bytes32 countryPolicy);

    /// @notice Who may take over, and by which way.
    function pendingOwners(bytes32 node) external view returns (address offered, address reclaimer, uint64 notBefore);

    /// @notice A wallet's grant as it is stored, and what counts of it in the space's epoch, expiry left aside.
    function grantOf(bytes32 node, address wallet)
        external
        view
        returns (Grant stored, uint64 publishUntil, uint64 subscribeUntil, uint8 flags);

    /// @notice Whether a stored policy lets a country in. Of what isn't stored: reverts.
    function countryAllowed(bytes32 policy, bytes2 code) external view returns (bool);

    /// @notice The administrator, who may take over from him, and from when on.
    function admin() external view returns (address current, address offered, uint64 notBefore);

    /// @notice The fees in force.
    function fees() external view returns (Fees memory);

    /// @notice Wei that an account can withdraw.
    function creditOf(address account) external view returns (uint256);

    /// @notice Wei that all accounts can withdraw: never more than the contract has.
    function totalCredits() external view returns (uint256);

    /// @notice Whether purchases and registrations are paused.
    function paused() external view returns (bool);

    /// @notice The announced successor, and when it is meant to take over.
    function successor() external view returns (address account, uint64 notBefore);
}
