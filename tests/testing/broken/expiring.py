"""Stores that break the contract of deadlines, each in one way, and the tests that say so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sojourn.testing import FakeClock
from tests.testing.catching import BrokenStore, caught_by

if TYPE_CHECKING:
    from sojourn.clock import Clock
    from sojourn.record import Record


@caught_by(
    "test_C1_move_revives_no_expired_session",
    "test_C1_touch_revives_no_expired_session",
    "test_C1_update_revives_no_expired_session",
    "test_L1_a_session_lives_until_its_absolute_deadline_and_no_longer",
    "test_L1_a_session_lives_until_its_idle_deadline_and_no_longer",
    "test_L1_every_call_agrees_on_the_deadline",
    "test_L1_move_sets_both_deadlines",
    "test_L1_the_idle_deadline_ends_a_session_before_its_absolute_one",
    "test_L1_touch_moves_no_absolute_deadline",
    "test_L1_touch_moves_the_idle_deadline_earlier",
    "test_L1_touch_moves_the_idle_deadline_later",
    "test_L1_update_sets_both_deadlines",
    "test_L2_what_was_seen_dead_stays_dead_when_the_clock_steps_back",
    "test_L6_a_key_created_anew_belongs_to_its_new_subject_only",
    "test_L6_only_living_sessions_are_found",
    "test_L6_only_sessions_that_lived_are_counted_as_ended",
    "test_an_expired_record_loads_as_none",
    "test_create_replaces_an_expired_record",
    "test_delete_of_an_expired_record_says_it_did_not_live",
    "test_move_replaces_an_expired_record_under_the_new_key",
    "test_scan_shows_only_the_living_and_fills_its_pages_with_them",
)
class DiesAMillisecondLate(BrokenStore):
    def living(self, key: str) -> Record | None:
        record = self.records.get(key)
        if record is not None and record.expires_at == self.clock.now():
            return record
        return super().living(key)


@caught_by(
    "test_L1_a_session_lives_until_its_absolute_deadline_and_no_longer",
    "test_L1_a_session_lives_until_its_idle_deadline_and_no_longer",
    "test_L1_every_call_agrees_on_the_deadline",
    "test_L1_move_sets_both_deadlines",
    "test_L1_the_idle_deadline_ends_a_session_before_its_absolute_one",
    "test_L1_touch_moves_no_absolute_deadline",
    "test_L1_touch_moves_the_idle_deadline_earlier",
    "test_L1_touch_moves_the_idle_deadline_later",
    "test_L1_update_sets_both_deadlines",
)
class DiesAMillisecondEarly(BrokenStore):
    def living(self, key: str) -> Record | None:
        record = super().living(key)
        return None if record is not None and record.is_expired(self.clock.now() + 1) else record


@caught_by(
    "test_L1_a_session_lives_until_its_absolute_deadline_and_no_longer",
    "test_L1_move_sets_both_deadlines",
    "test_L1_touch_moves_no_absolute_deadline",
    "test_L1_update_sets_both_deadlines",
)
class NoAbsoluteDeadline(BrokenStore):
    def living(self, key: str) -> Record | None:
        record = self.records.get(key)
        if record is None or record.idle_deadline <= self.clock.now():
            return super().living(key)
        return record


@caught_by(
    "test_L1_the_idle_deadline_ends_a_session_before_its_absolute_one",
)
class NoIdleDeadlineBesideAnAbsoluteOne(BrokenStore):
    def living(self, key: str) -> Record | None:
        record = self.records.get(key)
        absolute = None if record is None else record.absolute_deadline
        if absolute is not None and self.clock.now() < absolute:
            return record
        return super().living(key)


@caught_by(
    "test_L1_every_call_agrees_on_the_deadline",
    "test_L2_what_was_seen_dead_stays_dead_when_the_clock_steps_back",
    "test_delete_of_an_expired_record_says_it_did_not_live",
)
class OnlyDeleteIsLate(BrokenStore):
    def delete(self, key: str) -> bool:
        with self.lock:
            record = self.records.get(key)
            if record is not None and record.expires_at == self.clock.now():
                del self.records[key]
                return True
            return super().delete(key)


@caught_by(
    "test_C1_move_revives_no_expired_session",
    "test_C1_touch_revives_no_expired_session",
    "test_C1_update_revives_no_expired_session",
    "test_D6_purge_removes_no_more_than_its_limit",
    "test_D6_purge_removes_the_dead_and_never_the_living",
    "test_L1_a_session_lives_until_its_absolute_deadline_and_no_longer",
    "test_L1_a_session_lives_until_its_idle_deadline_and_no_longer",
    "test_L1_every_call_agrees_on_the_deadline",
    "test_L1_move_sets_both_deadlines",
    "test_L1_the_idle_deadline_ends_a_session_before_its_absolute_one",
    "test_L1_touch_moves_no_absolute_deadline",
    "test_L1_touch_moves_the_idle_deadline_earlier",
    "test_L1_touch_moves_the_idle_deadline_later",
    "test_L1_update_sets_both_deadlines",
    "test_L2_what_was_purged_stays_dead_when_the_clock_steps_back",
    "test_L2_what_was_seen_dead_stays_dead_when_the_clock_steps_back",
    "test_L6_a_key_created_anew_belongs_to_its_new_subject_only",
    "test_L6_only_living_sessions_are_found",
    "test_L6_only_sessions_that_lived_are_counted_as_ended",
    "test_an_expired_record_loads_as_none",
    "test_create_replaces_an_expired_record",
    "test_delete_of_an_expired_record_says_it_did_not_live",
    "test_move_replaces_an_expired_record_under_the_new_key",
    "test_scan_shows_only_the_living_and_fills_its_pages_with_them",
)
class GoesByAClockOfItsOwn(BrokenStore):
    def __init__(self, clock: Clock) -> None:
        super().__init__(FakeClock(now=clock.now()))


@caught_by(
    "test_L2_what_was_seen_dead_stays_dead_when_the_clock_steps_back",
)
class TheDeadLiveAgainWhenTheClockStepsBack(BrokenStore):
    def living(self, key: str) -> Record | None:
        record = self.records.get(key)
        return None if record is None or record.is_expired(self.clock.now()) else record


@caught_by(
    "test_L2_no_session_ends_because_the_clock_steps_back",
)
class NothingFromTheFutureLives(BrokenStore):
    def living(self, key: str) -> Record | None:
        record = super().living(key)
        return None if record is not None and record.created_at > self.clock.now() else record
