"""Stores that break the contract of ``create``, ``load``, ``delete`` or ``close``, each in one way.

With each stand the tests that say so.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sojourn.errors import DuplicateKeyError, StoreError
from sojourn.record import Version, public_id
from sojourn.testing import new_record
from tests.testing.catching import BrokenStore, caught_by

if TYPE_CHECKING:
    from sojourn.record import Record

# create


@caught_by(
    "test_L1_every_call_agrees_on_the_deadline",
    "test_L6_a_refused_call_leaves_the_index_as_it_was",
    "test_T12_no_error_shows_a_key_or_a_payload",
    "test_an_empty_payload_is_a_payload",
    "test_create_refuses_a_living_key_and_leaves_its_record_untouched",
    "test_move_to_a_living_key_is_refused_and_changes_nothing",
)
class CreateOverwrites(BrokenStore):
    def create(self, record: Record) -> Version:
        self.delete(record.key)
        return super().create(record)


@caught_by(
    "test_L1_every_call_agrees_on_the_deadline",
    "test_L6_a_refused_call_leaves_the_index_as_it_was",
    "test_create_refuses_a_living_key_and_leaves_its_record_untouched",
    "test_move_to_a_living_key_is_refused_and_changes_nothing",
)
class CreateOverwritesAndThenComplains(BrokenStore):
    def create(self, record: Record) -> Version:
        with self.lock:
            before = self.living(record.key)
            if before is not None:
                self.records[record.key] = replace(record, version=before.version)
            return super().create(record)


@caught_by(
    "test_L1_every_call_agrees_on_the_deadline",
    "test_L6_a_key_created_anew_belongs_to_its_new_subject_only",
    "test_create_replaces_an_expired_record",
    "test_move_replaces_an_expired_record_under_the_new_key",
)
class CreateRefusesDeadKeys(BrokenStore):
    def create(self, record: Record) -> Version:
        with self.lock:
            if record.key in self.records:
                raise DuplicateKeyError("the key lives")
            return super().create(record)


@caught_by(
    "test_T12_no_error_shows_a_key_or_a_payload",
    "test_create_refuses_a_living_key_and_leaves_its_record_untouched",
    "test_move_to_a_living_key_is_refused_and_changes_nothing",
)
class CreateRaisesAnErrorOfItsOwn(BrokenStore):
    class IntegrityError(DuplicateKeyError):
        pass

    def create(self, record: Record) -> Version:
        try:
            return super().create(record)
        except DuplicateKeyError as error:
            raise self.IntegrityError("the key lives") from error


@caught_by(
    "test_C2_a_version_of_an_earlier_session_under_the_key_never_matches",
    "test_create_replaces_a_deleted_record",
    "test_create_replaces_an_expired_record",
    "test_the_version_of_a_moved_record_is_a_first_one",
    "test_the_version_of_a_new_record_is_a_first_one",
)
class EveryRecordHasTheSameFirstVersion(BrokenStore):
    def create(self, record: Record) -> Version:
        super().create(record)
        self.records[record.key] = replace(record, version=Version(1, 1))
        return Version(1, 1)


@caught_by(
    "test_the_version_of_a_moved_record_is_a_first_one",
    "test_the_version_of_a_new_record_is_a_first_one",
)
class CreateTrustsTheVersionGiven(BrokenStore):
    def create(self, record: Record) -> Version:
        version = super().create(record)
        if record.version.counter > 0:
            version = record.version
            self.records[record.key] = record
        return version


@caught_by(
    "test_C2_of_racing_creates_of_one_key_exactly_one_succeeds",
)
class CreateIsNotAtomic(BrokenStore):
    def create(self, record: Record) -> Version:
        if self.load(record.key) is not None:
            raise DuplicateKeyError("the key lives")
        self.pause()
        version = Version.first()
        self.records[record.key] = replace(record, version=version)
        return version


# what is stored


class Alters(BrokenStore):
    def alter(self, record: Record) -> Record:
        raise NotImplementedError

    def create(self, record: Record) -> Version:
        return super().create(self.alter(record))

    def update(self, record: Record, expected_version: Version) -> Version:
        return super().update(self.alter(record), expected_version)


@caught_by(
    "test_L3_a_deadline_more_than_thirty_days_ahead_is_kept",
    "test_every_field_comes_back_as_it_was_created",
    "test_move_writes_the_whole_record",
    "test_update_replaces_the_whole_record",
)
class KeepsWholeSeconds(Alters):
    def alter(self, record: Record) -> Record:
        return replace(record, idle_deadline=record.idle_deadline // 1000 * 1000)


@caught_by(
    "test_every_field_comes_back_as_it_was_created",
    "test_move_writes_the_whole_record",
    "test_touch_sets_the_idle_deadline_and_nothing_else",
    "test_update_replaces_the_whole_record",
)
class KeepsSixteenBytesOfASubject(Alters):
    def alter(self, record: Record) -> Record:
        return replace(record, subject=None if record.subject is None else record.subject[:16])


@caught_by(
    "test_D6_purge_removes_the_dead_and_never_the_living",
    "test_L1_a_session_lives_until_its_absolute_deadline_and_no_longer",
    "test_L1_move_sets_both_deadlines",
    "test_L1_the_idle_deadline_ends_a_session_before_its_absolute_one",
    "test_L1_touch_moves_no_absolute_deadline",
    "test_L1_update_sets_both_deadlines",
    "test_every_field_comes_back_as_it_was_created",
    "test_move_writes_the_whole_record",
    "test_touch_sets_the_idle_deadline_and_nothing_else",
    "test_update_replaces_the_whole_record",
)
class ForgetsTheAbsoluteDeadline(Alters):
    def alter(self, record: Record) -> Record:
        return replace(record, absolute_deadline=None)


@caught_by(
    "test_every_field_comes_back_as_it_was_created",
    "test_move_writes_the_whole_record",
    "test_touch_sets_the_idle_deadline_and_nothing_else",
    "test_update_replaces_the_whole_record",
)
class ForgetsTheInfo(Alters):
    def alter(self, record: Record) -> Record:
        return replace(record, info=b"")


@caught_by(
    "test_L6_a_subject_finds_its_sessions_oldest_first",
    "test_every_field_comes_back_as_it_was_created",
    "test_move_writes_the_whole_record",
    "test_touch_sets_the_idle_deadline_and_nothing_else",
    "test_update_replaces_the_whole_record",
)
class CreatedWhenStored(Alters):
    def alter(self, record: Record) -> Record:
        return replace(record, created_at=self.clock.now())


@caught_by(
    "test_a_big_payload_comes_back_whole",
    "test_every_field_comes_back_as_it_was_created",
    "test_move_writes_the_whole_record",
    "test_touch_sets_the_idle_deadline_and_nothing_else",
    "test_update_replaces_the_whole_record",
)
class TakesThePayloadForText(Alters):
    def alter(self, record: Record) -> Record:
        return replace(record, payload=record.payload.decode(errors="replace").encode())


@caught_by(
    "test_C2_move_from_an_outdated_version_is_a_conflict_and_changes_nothing",
    "test_D6_purge_removes_the_dead_and_never_the_living",
    "test_L1_a_session_lives_until_its_absolute_deadline_and_no_longer",
    "test_L1_a_session_lives_until_its_idle_deadline_and_no_longer",
    "test_L1_move_sets_both_deadlines",
    "test_L1_the_idle_deadline_ends_a_session_before_its_absolute_one",
    "test_L1_touch_moves_no_absolute_deadline",
    "test_L1_touch_moves_the_idle_deadline_earlier",
    "test_L1_touch_moves_the_idle_deadline_later",
    "test_L1_update_sets_both_deadlines",
    "test_L2_no_session_ends_because_the_clock_steps_back",
    "test_L3_a_deadline_more_than_thirty_days_ahead_is_kept",
    "test_L6_a_key_created_anew_belongs_to_its_new_subject_only",
    "test_L6_a_refused_call_leaves_the_index_as_it_was",
    "test_L6_a_subject_finds_its_sessions_oldest_first",
    "test_L6_all_sessions_of_a_subject_are_ended",
    "test_L6_all_sessions_of_a_subject_but_one_are_ended",
    "test_L6_only_living_sessions_are_found",
    "test_L6_the_index_follows_moves",
    "test_L6_the_index_follows_updates_and_touches",
    "test_T3_the_old_key_is_dead_to_every_call_after_a_move",
    "test_a_big_payload_comes_back_whole",
    "test_create_refuses_a_living_key_and_leaves_its_record_untouched",
    "test_create_replaces_a_deleted_record",
    "test_create_replaces_an_expired_record",
    "test_delete_tells_whether_the_session_lived",
    "test_every_field_comes_back_as_it_was_created",
    "test_move_replaces_an_expired_record_under_the_new_key",
    "test_move_writes_the_whole_record",
    "test_scan_begins_after_the_key_given_living_or_not",
    "test_scan_shows_only_the_living_and_fills_its_pages_with_them",
    "test_touch_sets_the_idle_deadline_and_nothing_else",
    "test_update_replaces_the_whole_record",
    "test_update_returns_the_next_version",
    "test_what_was_created_is_loaded",
)
class TakesTheSpacesOutOfAPayload(Alters):
    def alter(self, record: Record) -> Record:
        return replace(record, payload=record.payload.replace(b" ", b""))


@caught_by(
    "test_a_big_payload_comes_back_whole",
)
class KeepsAtMost64KiB(Alters):
    def alter(self, record: Record) -> Record:
        return replace(record, payload=record.payload[: 1 << 16])


@caught_by(
    "test_L3_a_deadline_more_than_thirty_days_ahead_is_kept",
)
class KeepsAtMostThirtyDays(Alters):
    def alter(self, record: Record) -> Record:
        month = self.clock.now() + 30 * 86_400_000
        return replace(record, idle_deadline=min(record.idle_deadline, month))


# load


@caught_by(
    "test_an_empty_payload_is_a_payload",
    "test_every_field_comes_back_as_it_was_created",
    "test_move_writes_the_whole_record",
    "test_touch_sets_the_idle_deadline_and_nothing_else",
    "test_update_replaces_the_whole_record",
)
class TakesAnEmptyPayloadForNone(BrokenStore):
    def load(self, key: str) -> Record | None:
        record = super().load(key)
        return record if record is not None and record.payload else None


@caught_by(
    "test_L1_a_session_lives_until_its_absolute_deadline_and_no_longer",
    "test_L1_a_session_lives_until_its_idle_deadline_and_no_longer",
    "test_L1_move_sets_both_deadlines",
    "test_L1_the_idle_deadline_ends_a_session_before_its_absolute_one",
    "test_L1_touch_moves_no_absolute_deadline",
    "test_L1_touch_moves_the_idle_deadline_earlier",
    "test_L1_touch_moves_the_idle_deadline_later",
    "test_L1_update_sets_both_deadlines",
    "test_L1_what_is_written_with_a_deadline_in_the_past_is_dead",
    "test_L2_what_was_seen_dead_stays_dead_when_the_clock_steps_back",
    "test_an_expired_record_loads_as_none",
)
class ServesTheExpired(BrokenStore):
    def load(self, key: str) -> Record | None:
        with self.lock:
            return self.records.get(key)


@caught_by(
    "test_keys_that_differ_in_one_digit_are_different_keys",
)
class LooksUpByThePublicId(BrokenStore):
    def load(self, key: str) -> Record | None:
        with self.lock:
            same = [full for full in self.records if public_id(full) == public_id(key)]
            return self.living(same[-1]) if same else None


# delete


@caught_by(
    "test_C1_what_was_deleted_stays_dead",
    "test_L1_every_call_agrees_on_the_deadline",
    "test_L2_what_was_seen_dead_stays_dead_when_the_clock_steps_back",
    "test_T3_the_old_key_is_dead_to_every_call_after_a_move",
    "test_delete_of_an_expired_record_says_it_did_not_live",
    "test_delete_tells_whether_the_session_lived",
)
class DeleteAlwaysSaysYes(BrokenStore):
    def delete(self, key: str) -> bool:
        return super().delete(key) or True


@caught_by(
    "test_C1_what_was_deleted_stays_dead",
    "test_L1_every_call_agrees_on_the_deadline",
    "test_L6_all_sessions_of_a_subject_are_ended",
    "test_L6_all_sessions_of_a_subject_but_one_are_ended",
    "test_L6_only_sessions_that_lived_are_counted_as_ended",
    "test_an_empty_payload_is_a_payload",
    "test_delete_tells_whether_the_session_lived",
    "test_keys_that_differ_in_one_digit_are_different_keys",
)
class DeleteAlwaysSaysNo(BrokenStore):
    def delete(self, key: str) -> bool:
        return super().delete(key) and False


@caught_by(
    "test_C1_move_revives_no_deleted_session",
    "test_C1_touch_revives_no_deleted_session",
    "test_C1_update_revives_no_deleted_session",
    "test_C1_what_was_deleted_stays_dead",
    "test_C2_a_version_of_an_earlier_session_under_the_key_never_matches",
    "test_L6_all_sessions_of_a_subject_are_ended",
    "test_L6_all_sessions_of_a_subject_but_one_are_ended",
    "test_L6_only_living_sessions_are_found",
    "test_a_deleted_record_loads_as_none",
    "test_create_replaces_a_deleted_record",
    "test_delete_tells_whether_the_session_lived",
    "test_keys_that_differ_in_one_digit_are_different_keys",
    "test_scan_shows_only_the_living_and_fills_its_pages_with_them",
)
class DeleteDoesNothing(BrokenStore):
    def delete(self, key: str) -> bool:
        return self.load(key) is not None


@caught_by(
    "test_L1_every_call_agrees_on_the_deadline",
    "test_L2_what_was_seen_dead_stays_dead_when_the_clock_steps_back",
    "test_delete_of_an_expired_record_says_it_did_not_live",
)
class DeleteCountsTheExpired(BrokenStore):
    def delete(self, key: str) -> bool:
        with self.lock:
            return self.records.pop(key, None) is not None


@caught_by(
    "test_C1_update_revives_no_deleted_session",
    "test_C1_what_was_deleted_stays_dead",
    "test_L6_all_sessions_of_a_subject_are_ended",
)
class TheDeletedComesBack(BrokenStore):
    """As from a cache in front: the second look puts it back."""

    def delete(self, key: str) -> bool:
        with self.lock:
            if (record := self.living(key)) is not None:
                self.__dict__.setdefault("cache", {})[key] = record
            return super().delete(key)

    def load(self, key: str) -> Record | None:
        with self.lock:
            record = super().load(key)
            if record is None and (copy := self.__dict__.get("cache", {}).pop(key, None)) is not None:
                self.records[key] = copy
            return record


@caught_by(
    "test_C1_of_racing_deletes_exactly_one_ends_the_session",
)
class RacingDeletesAllSayYes(BrokenStore):
    def delete(self, key: str) -> bool:
        lived = self.load(key) is not None
        self.pause()
        super().delete(key)
        return lived


# errors, closing


@caught_by(
    "test_T12_no_error_shows_a_key_or_a_payload",
)
class ErrorsShowTheKey(BrokenStore):
    def at_version(self, key: str, expected_version: Version) -> Record:
        try:
            return super().at_version(key, expected_version)
        except StoreError as error:
            raise type(error)(f"{key} is not as expected") from error


@caught_by(
    "test_T12_no_error_shows_a_key_or_a_payload",
)
class ErrorsHaveACauseThatShowsThePayload(BrokenStore):
    rejected = b""

    def update(self, record: Record, expected_version: Version) -> Version:
        self.rejected = record.payload
        return super().update(record, expected_version)

    def at_version(self, key: str, expected_version: Version) -> Record:
        try:
            return super().at_version(key, expected_version)
        except StoreError as error:
            raise type(error)("not as expected") from ValueError(f"rejected: {self.rejected!r}")


@caught_by(
    "test_C1_move_revives_no_deleted_session",
    "test_C1_move_revives_no_expired_session",
    "test_C1_touch_revives_no_deleted_session",
    "test_C1_touch_revives_no_expired_session",
    "test_C1_update_revives_no_deleted_session",
    "test_C1_update_revives_no_expired_session",
    "test_C1_what_was_deleted_stays_dead",
    "test_C2_move_from_an_outdated_version_is_a_conflict_and_changes_nothing",
    "test_D6_purge_removes_the_dead_and_never_the_living",
    "test_L1_a_session_lives_until_its_absolute_deadline_and_no_longer",
    "test_L1_a_session_lives_until_its_idle_deadline_and_no_longer",
    "test_L1_move_sets_both_deadlines",
    "test_L1_the_idle_deadline_ends_a_session_before_its_absolute_one",
    "test_L1_touch_moves_no_absolute_deadline",
    "test_L1_touch_moves_the_idle_deadline_earlier",
    "test_L1_touch_moves_the_idle_deadline_later",
    "test_L1_update_sets_both_deadlines",
    "test_L1_what_is_written_with_a_deadline_in_the_past_is_dead",
    "test_L2_what_was_purged_stays_dead_when_the_clock_steps_back",
    "test_L2_what_was_seen_dead_stays_dead_when_the_clock_steps_back",
    "test_L6_all_sessions_of_a_subject_are_ended",
    "test_T3_after_a_move_exactly_the_new_key_lives",
    "test_T3_the_old_key_is_dead_to_every_call_after_a_move",
    "test_a_deleted_record_loads_as_none",
    "test_an_expired_record_loads_as_none",
    "test_an_unknown_key_loads_as_none",
    "test_keys_that_differ_in_one_digit_are_different_keys",
    "test_move_never_creates",
    "test_move_replaces_an_expired_record_under_the_new_key",
    "test_touch_never_creates",
    "test_update_never_creates",
)
class GivesOutUnknownSessions(BrokenStore):
    def load(self, key: str) -> Record | None:
        return super().load(key) or new_record(self.clock, key=key)


@caught_by(
    "test_closing_twice_is_fine",
)
class ClosesOnce(BrokenStore):
    closed = False

    def close(self) -> None:
        if self.closed:
            raise ValueError("closed already")
        self.closed = True
