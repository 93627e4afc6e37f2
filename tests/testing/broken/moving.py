"""Stores that break the contract of ``move``, each in one way, and the tests that say so."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sojourn.errors import ConflictError, DuplicateKeyError, SessionGoneError
from tests.testing.catching import BrokenStore, caught_by

if TYPE_CHECKING:
    from sojourn.record import Record, Version


@caught_by(
    "test_L1_what_is_written_with_a_deadline_in_the_past_is_dead",
    "test_L6_the_index_follows_moves",
    "test_T3_after_a_move_exactly_the_new_key_lives",
    "test_T3_the_old_key_is_dead_to_every_call_after_a_move",
    "test_move_replaces_an_expired_record_under_the_new_key",
)
class MoveLeavesBoth(BrokenStore):
    def move(self, old_key: str, expected_version: Version, record: Record) -> Version:
        with self.lock:
            self.at_version(old_key, expected_version)
            return self.create(record)


@caught_by(
    "test_L1_move_sets_both_deadlines",
    "test_L6_the_index_follows_moves",
    "test_T3_after_a_move_exactly_the_new_key_lives",
    "test_T3_the_old_key_is_dead_to_every_call_after_a_move",
    "test_an_empty_payload_is_a_payload",
    "test_move_replaces_an_expired_record_under_the_new_key",
    "test_move_writes_the_whole_record",
    "test_the_version_of_a_moved_record_is_a_first_one",
)
class MoveLeavesNeither(BrokenStore):
    def move(self, old_key: str, expected_version: Version, record: Record) -> Version:
        with self.lock:
            version = super().move(old_key, expected_version, record)
            del self.records[record.key]
            return version


@caught_by(
    "test_C2_a_version_of_an_earlier_session_under_the_key_never_matches",
    "test_C2_move_from_an_outdated_version_is_a_conflict_and_changes_nothing",
    "test_L6_a_refused_call_leaves_the_index_as_it_was",
    "test_T12_no_error_shows_a_key_or_a_payload",
)
class MoveIgnoresTheVersion(BrokenStore):
    def move(self, old_key: str, expected_version: Version, record: Record) -> Version:
        with self.lock:
            current = self.living(old_key)
            return super().move(old_key, expected_version if current is None else current.version, record)


@caught_by(
    "test_C1_move_revives_no_deleted_session",
    "test_C1_move_revives_no_expired_session",
    "test_C1_what_was_deleted_stays_dead",
    "test_L1_every_call_agrees_on_the_deadline",
    "test_L2_what_was_seen_dead_stays_dead_when_the_clock_steps_back",
    "test_T12_no_error_shows_a_key_or_a_payload",
    "test_T3_the_old_key_is_dead_to_every_call_after_a_move",
    "test_move_never_creates",
)
class MoveCreates(BrokenStore):
    def move(self, old_key: str, expected_version: Version, record: Record) -> Version:
        try:
            return super().move(old_key, expected_version, record)
        except SessionGoneError:
            return self.create(record)


@caught_by(
    "test_C1_move_revives_no_expired_session",
    "test_L1_every_call_agrees_on_the_deadline",
    "test_L2_what_was_seen_dead_stays_dead_when_the_clock_steps_back",
    "test_move_to_a_living_key_is_refused_and_changes_nothing",
)
class MoveRevivesTheExpired(BrokenStore):
    def move(self, old_key: str, expected_version: Version, record: Record) -> Version:
        with self.lock:
            old = self.records.get(old_key)
            if old is not None and old.version == expected_version:
                self.records[old_key] = replace(old, idle_deadline=1 << 60, absolute_deadline=None)
            return super().move(old_key, expected_version, record)


@caught_by(
    "test_L1_every_call_agrees_on_the_deadline",
    "test_T12_no_error_shows_a_key_or_a_payload",
    "test_move_to_a_living_key_is_refused_and_changes_nothing",
)
class MoveOverwrites(BrokenStore):
    def move(self, old_key: str, expected_version: Version, record: Record) -> Version:
        with self.lock:
            self.at_version(old_key, expected_version)
            self.records.pop(record.key, None)
            return super().move(old_key, expected_version, record)


@caught_by(
    "test_move_to_a_living_key_is_refused_and_changes_nothing",
)
class MoveDeletesBeforeItIsRefused(BrokenStore):
    def move(self, old_key: str, expected_version: Version, record: Record) -> Version:
        with self.lock:
            self.at_version(old_key, expected_version)
            self.delete(old_key)
            return self.create(record)


@caught_by(
    "test_C1_move_revives_no_deleted_session",
    "test_C1_move_revives_no_expired_session",
    "test_C1_what_was_deleted_stays_dead",
    "test_C2_move_from_an_outdated_version_is_a_conflict_and_changes_nothing",
    "test_L6_a_refused_call_leaves_the_index_as_it_was",
    "test_T12_no_error_shows_a_key_or_a_payload",
    "test_move_never_creates",
)
class MoveCreatesBeforeItIsRefused(BrokenStore):
    def move(self, old_key: str, expected_version: Version, record: Record) -> Version:
        with self.lock:
            version = self.create(record)
            self.at_version(old_key, expected_version)
            del self.records[old_key]
            return version


@caught_by(
    "test_C2_a_version_of_an_earlier_session_under_the_key_never_matches",
    "test_C2_move_from_an_outdated_version_is_a_conflict_and_changes_nothing",
    "test_L6_a_refused_call_leaves_the_index_as_it_was",
    "test_T12_no_error_shows_a_key_or_a_payload",
)
class MoveReportsAConflictAsGone(BrokenStore):
    def move(self, old_key: str, expected_version: Version, record: Record) -> Version:
        try:
            return super().move(old_key, expected_version, record)
        except ConflictError as error:
            raise SessionGoneError("the session has ended") from error


@caught_by(
    "test_the_version_of_a_moved_record_is_a_first_one",
)
class MoveKeepsTheVersion(BrokenStore):
    def move(self, old_key: str, expected_version: Version, record: Record) -> Version:
        with self.lock:
            super().move(old_key, expected_version, record)
            self.records[record.key] = replace(record, version=expected_version.next())
            return expected_version.next()


@caught_by(
    "test_T3_after_a_move_exactly_the_new_key_lives",
    "test_move_writes_the_whole_record",
)
class MoveKeepsTheOldPayload(BrokenStore):
    def move(self, old_key: str, expected_version: Version, record: Record) -> Version:
        with self.lock:
            old = self.living(old_key)
            return super().move(
                old_key, expected_version, record if old is None else replace(record, payload=old.payload)
            )


@caught_by(
    "test_T3_of_racing_moves_from_one_key_exactly_one_succeeds",
    "test_C1_of_a_racing_move_and_delete_exactly_one_wins",
    "test_C2_of_a_racing_move_and_update_exactly_one_wins",
)
class RacingMovesAllSucceed(BrokenStore):
    def move(self, old_key: str, expected_version: Version, record: Record) -> Version:
        with self.lock:
            self.at_version(old_key, expected_version)
        self.pause()
        with self.lock:
            version = self.create(record)
            self.records.pop(old_key, None)
            return version

    def delete(self, key: str) -> bool:
        self.pause(0.01)
        return super().delete(key)

    def update(self, record: Record, expected_version: Version) -> Version:
        if self.racing and record.payload == b"changed":
            self.pause(0.01)
        return super().update(record, expected_version)


@caught_by(
    "test_C1_of_a_racing_move_and_delete_exactly_one_wins",
)
class MoveCreatesThenDeletesAndNeverUndoes(BrokenStore):
    def move(self, old_key: str, expected_version: Version, record: Record) -> Version:
        with self.lock:
            self.at_version(old_key, expected_version)
            version = self.create(record)
        self.pause()
        with self.lock:
            self.at_version(old_key, expected_version)
            self.delete(old_key)
            return version

    def delete(self, key: str) -> bool:
        self.pause(0.01)
        return super().delete(key)


@caught_by(
    "test_C2_of_racing_moves_to_one_key_exactly_one_succeeds",
)
class RacingMovesOverwriteEachOther(BrokenStore):
    def move(self, old_key: str, expected_version: Version, record: Record) -> Version:
        if self.load(record.key) is not None:
            raise DuplicateKeyError("the key lives")
        self.pause()
        with self.lock:
            self.at_version(old_key, expected_version)
            del self.records[old_key]
            self.records.pop(record.key, None)
            return self.create(record)
