"""Stores that break the contract of ``update`` and ``touch``, each in one way, and the tests that say so."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sojourn.errors import ConflictError, SessionGoneError
from sojourn.record import Version
from sojourn.testing import new_record
from tests.testing.catching import BrokenStore, caught_by

if TYPE_CHECKING:
    from sojourn.record import Record

# update


@caught_by(
    "test_C1_update_revives_no_deleted_session",
    "test_C1_update_revives_no_expired_session",
    "test_C1_what_was_deleted_stays_dead",
    "test_L1_every_call_agrees_on_the_deadline",
    "test_L2_what_was_seen_dead_stays_dead_when_the_clock_steps_back",
    "test_L6_a_refused_call_leaves_the_index_as_it_was",
    "test_L6_all_sessions_of_a_subject_are_ended",
    "test_T12_no_error_shows_a_key_or_a_payload",
    "test_T3_the_old_key_is_dead_to_every_call_after_a_move",
    "test_update_never_creates",
)
class UpdateCreates(BrokenStore):
    def update(self, record: Record, expected_version: Version) -> Version:
        try:
            return super().update(record, expected_version)
        except SessionGoneError:
            return self.create(record)


@caught_by(
    "test_C1_update_revives_no_expired_session",
    "test_L1_every_call_agrees_on_the_deadline",
    "test_L2_what_was_seen_dead_stays_dead_when_the_clock_steps_back",
)
class UpdateRevivesTheExpired(BrokenStore):
    def update(self, record: Record, expected_version: Version) -> Version:
        with self.lock:
            old = self.records.get(record.key)
            if old is not None and old.version == expected_version:
                self.records[record.key] = replace(old, idle_deadline=1 << 60, absolute_deadline=None)
            return super().update(record, expected_version)


@caught_by(
    "test_C1_update_revives_no_deleted_session",
    "test_C1_what_was_deleted_stays_dead",
    "test_L6_all_sessions_of_a_subject_are_ended",
)
class UpdateRevivesTheDeleted(BrokenStore):
    """Deleted records stay in a bin, where their version still matches."""

    def delete(self, key: str) -> bool:
        with self.lock:
            if (record := self.living(key)) is not None:
                self.__dict__.setdefault("bin", {})[key] = record
            return super().delete(key)

    def update(self, record: Record, expected_version: Version) -> Version:
        with self.lock:
            binned: Record | None = self.__dict__.get("bin", {}).get(record.key)
            if binned is not None and binned.version == expected_version and self.living(record.key) is None:
                self.records[record.key] = binned
            return super().update(record, expected_version)


@caught_by(
    "test_C2_a_version_of_an_earlier_session_under_the_key_never_matches",
    "test_C2_update_from_an_outdated_version_is_a_conflict_and_changes_nothing",
    "test_L6_a_refused_call_leaves_the_index_as_it_was",
    "test_T12_no_error_shows_a_key_or_a_payload",
)
class UpdateIgnoresTheVersion(BrokenStore):
    def update(self, record: Record, expected_version: Version) -> Version:
        with self.lock:
            current = self.living(record.key)
            return super().update(record, expected_version if current is None else current.version)


@caught_by(
    "test_C2_a_version_of_an_earlier_session_under_the_key_never_matches",
    "test_C2_update_from_an_outdated_version_is_a_conflict_and_changes_nothing",
)
class UpdateComparesOnlyCounters(BrokenStore):
    def update(self, record: Record, expected_version: Version) -> Version:
        with self.lock:
            current = self.living(record.key)
            if current is not None and current.version.counter == expected_version.counter:
                expected_version = current.version
            return super().update(record, expected_version)


@caught_by(
    "test_C2_update_from_an_outdated_version_is_a_conflict_and_changes_nothing",
    "test_L6_a_refused_call_leaves_the_index_as_it_was",
    "test_T12_no_error_shows_a_key_or_a_payload",
)
class UpdateTakesAnyNewerVersion(BrokenStore):
    def update(self, record: Record, expected_version: Version) -> Version:
        with self.lock:
            current = self.living(record.key)
            if current is not None and expected_version.supersedes(current.version):
                expected_version = current.version
            return super().update(record, expected_version)


@caught_by(
    "test_C2_a_version_of_an_earlier_session_under_the_key_never_matches",
    "test_C2_update_from_an_outdated_version_is_a_conflict_and_changes_nothing",
    "test_L6_a_refused_call_leaves_the_index_as_it_was",
    "test_T12_no_error_shows_a_key_or_a_payload",
)
class UpdateReportsAConflictAsGone(BrokenStore):
    def update(self, record: Record, expected_version: Version) -> Version:
        try:
            return super().update(record, expected_version)
        except ConflictError as error:
            raise SessionGoneError("the session has ended") from error


@caught_by(
    "test_C1_update_revives_no_deleted_session",
    "test_C1_update_revives_no_expired_session",
    "test_C1_what_was_deleted_stays_dead",
    "test_L1_every_call_agrees_on_the_deadline",
    "test_L2_what_was_seen_dead_stays_dead_when_the_clock_steps_back",
    "test_L6_a_refused_call_leaves_the_index_as_it_was",
    "test_L6_all_sessions_of_a_subject_are_ended",
    "test_T12_no_error_shows_a_key_or_a_payload",
    "test_T3_the_old_key_is_dead_to_every_call_after_a_move",
    "test_update_never_creates",
)
class UpdateReportsGoneAsAConflict(BrokenStore):
    def update(self, record: Record, expected_version: Version) -> Version:
        try:
            return super().update(record, expected_version)
        except SessionGoneError as error:
            raise ConflictError("the record is at another version") from error


@caught_by(
    "test_L1_update_sets_both_deadlines",
    "test_L1_what_is_written_with_a_deadline_in_the_past_is_dead",
    "test_L6_the_index_follows_updates_and_touches",
    "test_update_replaces_the_whole_record",
)
class UpdateWritesOnlyThePayload(BrokenStore):
    def update(self, record: Record, expected_version: Version) -> Version:
        with self.lock:
            current = self.living(record.key)
            if current is not None:
                record = replace(current, payload=record.payload)
            return super().update(record, expected_version)


@caught_by(
    "test_C2_touch_leaves_the_version_so_that_no_update_conflicts_with_it",
    "test_L2_no_session_ends_because_the_clock_steps_back",
    "test_the_version_of_a_moved_record_is_a_first_one",
    "test_update_returns_the_next_version",
)
class UpdateDrawsAFirstVersion(BrokenStore):
    def update(self, record: Record, expected_version: Version) -> Version:
        with self.lock:
            super().update(record, expected_version)
            version = Version.first()
            self.records[record.key] = replace(record, version=version)
            return version


@caught_by(
    "test_C2_update_from_an_outdated_version_is_a_conflict_and_changes_nothing",
    "test_L1_what_is_written_with_a_deadline_in_the_past_is_dead",
)
class ARefusedUpdateMovesTheDeadline(BrokenStore):
    def update(self, record: Record, expected_version: Version) -> Version:
        with self.lock:
            self.touch(record.key, record.idle_deadline)
            return super().update(record, expected_version)


@caught_by(
    "test_C2_of_racing_updates_from_one_version_exactly_one_succeeds",
    "test_C2_no_change_is_lost_when_racing_updates_retry",
)
class UpdateIsNotAtomic(BrokenStore):
    def update(self, record: Record, expected_version: Version) -> Version:
        self.at_version(record.key, expected_version)
        self.pause()
        with self.lock:
            if self.living(record.key) is None:
                raise SessionGoneError("the session has ended")
            self.records[record.key] = replace(record, version=expected_version.next())
            return expected_version.next()


@caught_by(
    "test_C1_a_racing_update_never_undoes_a_delete",
)
class ARacingUpdateUndoesADelete(BrokenStore):
    def update(self, record: Record, expected_version: Version) -> Version:
        with self.lock:
            self.at_version(record.key, expected_version)
        self.pause()
        with self.lock:
            current = self.living(record.key)
            if current is not None and current.version != expected_version:
                raise ConflictError("the record is at another version")
            self.records[record.key] = replace(record, version=expected_version.next())
            return expected_version.next()

    def delete(self, key: str) -> bool:
        self.pause(0.01)
        return super().delete(key)


# touch


@caught_by(
    "test_C1_touch_revives_no_deleted_session",
    "test_C1_what_was_deleted_stays_dead",
    "test_L1_what_is_written_with_a_deadline_in_the_past_is_dead",
    "test_L2_what_was_purged_stays_dead_when_the_clock_steps_back",
    "test_L2_what_was_seen_dead_stays_dead_when_the_clock_steps_back",
    "test_T3_the_old_key_is_dead_to_every_call_after_a_move",
    "test_touch_never_creates",
)
class TouchCreates(BrokenStore):
    def touch(self, key: str, idle_deadline: int) -> bool:
        with self.lock:
            if self.records.get(key) is None:
                self.create(new_record(self.clock, key=key))
            return super().touch(key, idle_deadline)


@caught_by(
    "test_C1_touch_revives_no_expired_session",
    "test_L1_every_call_agrees_on_the_deadline",
    "test_L2_what_was_seen_dead_stays_dead_when_the_clock_steps_back",
)
class TouchRevivesTheExpired(BrokenStore):
    def touch(self, key: str, idle_deadline: int) -> bool:
        with self.lock:
            if key not in self.records:
                return False
            self.records[key] = replace(self.records[key], idle_deadline=idle_deadline)
            return True


@caught_by(
    "test_C1_touch_revives_no_deleted_session",
    "test_C1_touch_revives_no_expired_session",
    "test_C1_what_was_deleted_stays_dead",
    "test_L1_every_call_agrees_on_the_deadline",
    "test_L1_what_is_written_with_a_deadline_in_the_past_is_dead",
    "test_L2_what_was_purged_stays_dead_when_the_clock_steps_back",
    "test_L2_what_was_seen_dead_stays_dead_when_the_clock_steps_back",
    "test_T3_the_old_key_is_dead_to_every_call_after_a_move",
    "test_touch_never_creates",
)
class TouchAlwaysSaysYes(BrokenStore):
    def touch(self, key: str, idle_deadline: int) -> bool:
        return super().touch(key, idle_deadline) or True


@caught_by(
    "test_D6_purge_removes_the_dead_and_never_the_living",
    "test_L1_touch_moves_no_absolute_deadline",
    "test_L1_touch_moves_the_idle_deadline_earlier",
    "test_L1_touch_moves_the_idle_deadline_later",
    "test_L1_what_is_written_with_a_deadline_in_the_past_is_dead",
    "test_L3_a_deadline_more_than_thirty_days_ahead_is_kept",
    "test_L6_the_index_follows_updates_and_touches",
    "test_touch_sets_the_idle_deadline_and_nothing_else",
)
class TouchDoesNothing(BrokenStore):
    def touch(self, key: str, idle_deadline: int) -> bool:
        return self.load(key) is not None


@caught_by(
    "test_C2_touch_leaves_the_version_so_that_no_update_conflicts_with_it",
    "test_D6_purge_removes_the_dead_and_never_the_living",
    "test_L1_touch_moves_no_absolute_deadline",
    "test_L1_touch_moves_the_idle_deadline_earlier",
    "test_L1_touch_moves_the_idle_deadline_later",
    "test_L3_a_deadline_more_than_thirty_days_ahead_is_kept",
    "test_L6_the_index_follows_updates_and_touches",
    "test_touch_sets_the_idle_deadline_and_nothing_else",
)
class TouchChangesTheVersion(BrokenStore):
    def touch(self, key: str, idle_deadline: int) -> bool:
        with self.lock:
            lived = super().touch(key, idle_deadline)
            if lived:
                self.records[key] = replace(self.records[key], version=self.records[key].version.next())
            return lived


@caught_by(
    "test_L1_touch_moves_the_idle_deadline_earlier",
    "test_L1_what_is_written_with_a_deadline_in_the_past_is_dead",
    "test_touch_sets_the_idle_deadline_and_nothing_else",
)
class TouchNeverShortens(BrokenStore):
    def touch(self, key: str, idle_deadline: int) -> bool:
        with self.lock:
            record = self.living(key)
            return record is not None and super().touch(key, max(idle_deadline, record.idle_deadline))


@caught_by(
    "test_L1_touch_moves_no_absolute_deadline",
    "test_touch_sets_the_idle_deadline_and_nothing_else",
)
class TouchMovesTheAbsoluteDeadline(BrokenStore):
    def touch(self, key: str, idle_deadline: int) -> bool:
        with self.lock:
            lived = super().touch(key, idle_deadline)
            if lived and (absolute := self.records[key].absolute_deadline) is not None:
                absolute = max(absolute, idle_deadline)
                self.records[key] = replace(self.records[key], absolute_deadline=absolute)
            return lived


@caught_by(
    "test_touch_sets_the_idle_deadline_and_nothing_else",
)
class TouchDropsTheInfo(BrokenStore):
    def touch(self, key: str, idle_deadline: int) -> bool:
        with self.lock:
            lived = super().touch(key, idle_deadline)
            if lived:
                self.records[key] = replace(self.records[key], info=b"")
            return lived


@caught_by(
    "test_C2_a_racing_touch_never_undoes_an_update",
)
class TouchRewritesWhatItRead(BrokenStore):
    def touch(self, key: str, idle_deadline: int) -> bool:
        record = self.load(key)
        self.pause()
        with self.lock:
            if record is None or self.living(key) is None:
                return False
            self.records[key] = replace(record, idle_deadline=idle_deadline)
            return True

    def update(self, record: Record, expected_version: Version) -> Version:
        self.pause(0.01)
        return super().update(record, expected_version)


@caught_by(
    "test_C1_a_racing_touch_never_undoes_a_delete",
)
class ARacingTouchUndoesADelete(BrokenStore):
    def touch(self, key: str, idle_deadline: int) -> bool:
        record = self.load(key)
        self.pause()
        with self.lock:
            if record is None:
                return False
            now = self.living(key)
            self.records[key] = replace(record if now is None else now, idle_deadline=idle_deadline)
            return True

    def delete(self, key: str) -> bool:
        self.pause(0.01)
        return super().delete(key)
