"""Stores that break the contract of a capability, each in one way, and the tests that say so."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sojourn.errors import StoreUnavailableError
from tests.testing.catching import BrokenStore, caught_by

if TYPE_CHECKING:
    from sojourn.clock import Clock
    from sojourn.record import Record, Version


# subject index


class Indexed(BrokenStore):
    """Keeps the subjects' keys in an index of its own, as it first saw them."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.index: dict[str, bytes | None] = {}

    def create(self, record: Record) -> Version:
        with self.lock:
            version = super().create(record)
            self.index[record.key] = record.subject
            return version

    def update(self, record: Record, expected_version: Version) -> Version:
        with self.lock:
            version = super().update(record, expected_version)
            self.index[record.key] = record.subject
            return version

    def find_subject(self, subject: bytes) -> list[Record]:
        with self.lock:
            found = [self.living(key) for key, whose in self.index.items() if whose == subject]
            return sorted((r for r in found if r is not None), key=lambda r: r.created_at)

    def delete_subject(self, subject: bytes, *, except_key: str | None = None) -> int:
        self.pause()
        return super().delete_subject(subject, except_key=except_key)


@caught_by(
    "test_L6_the_index_follows_updates_and_touches",
)
class TheIndexIgnoresUpdates(Indexed):
    def update(self, record: Record, expected_version: Version) -> Version:
        return BrokenStore.update(self, record, expected_version)


@caught_by(
    "test_L6_the_index_follows_updates_and_touches",
)
class TheIndexForgetsNobody(Indexed):
    def update(self, record: Record, expected_version: Version) -> Version:
        with self.lock:
            version = BrokenStore.update(self, record, expected_version)
            if record.subject is not None:
                self.index[record.key] = record.subject
            return version


@caught_by(
    "test_L6_a_refused_call_leaves_the_index_as_it_was",
)
class TheIndexIsWrittenBeforeTheUpdateIsRefused(Indexed):
    def update(self, record: Record, expected_version: Version) -> Version:
        with self.lock:
            self.index[record.key] = record.subject
            return super().update(record, expected_version)


@caught_by(
    "test_L6_the_index_follows_moves",
)
class TheIndexIgnoresMoves(Indexed):
    def move(self, old_key: str, expected_version: Version, record: Record) -> Version:
        with self.lock:
            version = super().move(old_key, expected_version, record)
            del self.index[record.key]
            return version


@caught_by(
    "test_L6_a_key_created_anew_belongs_to_its_new_subject_only",
)
class AKeyStaysWithItsFirstSubject(Indexed):
    def create(self, record: Record) -> Version:
        with self.lock:
            before = self.index.get(record.key)
            version = super().create(record)
            self.index[record.key] = before or record.subject
            return version


@caught_by(
    "test_L6_a_subject_finds_its_sessions_oldest_first",
)
class FindsTheNewestFirst(BrokenStore):
    def find_subject(self, subject: bytes) -> list[Record]:
        return super().find_subject(subject)[::-1]


@caught_by(
    "test_L6_only_living_sessions_are_found",
)
class FindsTheExpired(BrokenStore):
    def find_subject(self, subject: bytes) -> list[Record]:
        with self.lock:
            found = [record for record in self.records.values() if record.subject == subject]
            return sorted(found, key=lambda record: record.created_at)


@caught_by(
    "test_L6_a_key_created_anew_belongs_to_its_new_subject_only",
    "test_L6_a_refused_call_leaves_the_index_as_it_was",
    "test_L6_a_subject_finds_its_sessions_oldest_first",
    "test_L6_all_sessions_of_a_subject_but_one_are_ended",
    "test_L6_only_living_sessions_are_found",
    "test_L6_the_index_follows_moves",
    "test_L6_the_index_follows_updates_and_touches",
)
class FindsHeadsWithoutPayloads(BrokenStore):
    def find_subject(self, subject: bytes) -> list[Record]:
        return [replace(record, payload=b"") for record in super().find_subject(subject)]


@caught_by(
    "test_L6_all_sessions_of_a_subject_are_ended",
    "test_L6_all_sessions_of_a_subject_but_one_are_ended",
)
class DeleteSubjectDeletesOnlyOne(BrokenStore):
    def delete_subject(self, subject: bytes, *, except_key: str | None = None) -> int:
        with self.lock:
            keys = [r.key for r in self.find_subject(subject) if r.key != except_key]
            for key in keys[:1]:
                self.delete(key)
            return len(keys)


@caught_by(
    "test_L6_all_sessions_of_a_subject_but_one_are_ended",
)
class DeleteSubjectExceptsNone(BrokenStore):
    def delete_subject(self, subject: bytes, *, except_key: str | None = None) -> int:
        return super().delete_subject(subject)


@caught_by(
    "test_L6_all_sessions_of_a_subject_but_one_are_ended",
)
class DeleteSubjectExceptsMore(BrokenStore):
    def delete_subject(self, subject: bytes, *, except_key: str | None = None) -> int:
        return 0 if except_key is not None else super().delete_subject(subject)


@caught_by(
    "test_L6_only_sessions_that_lived_are_counted_as_ended",
)
class DeleteSubjectCountsTheExpired(BrokenStore):
    def delete_subject(self, subject: bytes, *, except_key: str | None = None) -> int:
        with self.lock:
            keys = [r.key for r in self.records.values() if r.subject == subject and r.key != except_key]
            for key in keys:
                del self.records[key]
            return len(keys)


@caught_by(
    "test_C1_a_racing_move_never_survives_the_end_of_all_sessions",
)
class DeleteSubjectIsNotAtomic(BrokenStore):
    def delete_subject(self, subject: bytes, *, except_key: str | None = None) -> int:
        found = self.find_subject(subject)
        self.pause()
        return sum(self.delete(record.key) for record in found if record.key != except_key)

    def move(self, old_key: str, expected_version: Version, record: Record) -> Version:
        self.pause(0.01)
        return super().move(old_key, expected_version, record)


@caught_by(
    "test_C1_a_racing_update_never_survives_the_end_of_all_sessions",
)
class ARacingUpdateSurvivesDeleteSubject(BrokenStore):
    def delete_subject(self, subject: bytes, *, except_key: str | None = None) -> int:
        found = self.find_subject(subject)
        self.pause()
        with self.lock:
            for record in found:
                if record.key != except_key and self.living(record.key) == record:
                    self.delete(record.key)
            return sum(record.key != except_key for record in found)

    def update(self, record: Record, expected_version: Version) -> Version:
        self.pause(0.01)
        return super().update(record, expected_version)

    def move(self, old_key: str, expected_version: Version, record: Record) -> Version:
        self.pause(0.03)
        return super().move(old_key, expected_version, record)


# purge


@caught_by(
    "test_D6_purge_removes_the_dead_and_never_the_living",
)
class PurgeRemovesTheIdle(BrokenStore):
    """Goes by the deadline a record was created with."""

    def create(self, record: Record) -> Version:
        self.__dict__.setdefault("due", {})[record.key] = record.expires_at
        return super().create(record)

    def purge(self, *, limit: int = 100) -> int:
        due: dict[str, int] = self.__dict__.get("due", {})
        dead = [key for key in self.records if due.get(key, 0) <= self.clock.now()][:limit]
        for key in dead:
            del self.records[key]
        return len(dead)


@caught_by(
    "test_D6_purge_removes_the_dead_and_never_the_living",
)
class PurgeForgetsAbsoluteDeadlines(BrokenStore):
    def purge(self, *, limit: int = 100) -> int:
        now = self.clock.now()
        dead = [key for key, record in self.records.items() if record.idle_deadline <= now][:limit]
        for key in dead:
            del self.records[key]
        return len(dead)


@caught_by(
    "test_D6_purge_removes_no_more_than_its_limit",
)
class PurgeKnowsNoLimit(BrokenStore):
    def purge(self, *, limit: int = 100) -> int:
        return super().purge()


@caught_by(
    "test_D6_purge_removes_no_more_than_its_limit",
    "test_D6_purge_removes_the_dead_and_never_the_living",
    "test_L2_what_was_purged_stays_dead_when_the_clock_steps_back",
)
class PurgeCountsNothing(BrokenStore):
    def purge(self, *, limit: int = 100) -> int:
        super().purge(limit=limit)
        return 0


@caught_by(
    "test_D6_purge_removes_no_more_than_its_limit",
    "test_D6_purge_removes_the_dead_and_never_the_living",
    "test_L2_what_was_purged_stays_dead_when_the_clock_steps_back",
)
class PurgeOnlyCounts(BrokenStore):
    def purge(self, *, limit: int = 100) -> int:
        return sum(record.is_expired(self.clock.now()) for record in self.records.values())


@caught_by(
    "test_D6_a_racing_purge_never_removes_a_key_created_anew",
)
class PurgeLooksFirstAndRemovesLater(BrokenStore):
    def purge(self, *, limit: int = 100) -> int:
        now = self.clock.now()
        dead = [key for key, record in list(self.records.items()) if record.is_expired(now)][:limit]
        self.pause()
        with self.lock:
            return sum(self.records.pop(key, None) is not None for key in dead)

    def create(self, record: Record) -> Version:
        self.pause(0.01)
        return super().create(record)


# scan


@caught_by(
    "test_scan_begins_after_the_key_given_living_or_not",
    "test_scan_goes_through_all_records_in_key_order",
    "test_scan_shows_only_the_living_and_fills_its_pages_with_them",
)
class ScanGoesBackwards(BrokenStore):
    def scan(self, *, after: str = "", limit: int = 100) -> list[Record]:
        return super().scan(after=after, limit=limit)[::-1]


@caught_by(
    "test_scan_begins_after_the_key_given_living_or_not",
    "test_scan_goes_through_all_records_in_key_order",
)
class ScanBeginsAtTheKey(BrokenStore):
    def scan(self, *, after: str = "", limit: int = 100) -> list[Record]:
        page = super().scan(after=after, limit=limit)
        first = self.load(after)
        return page if first is None else [first, *page][:limit]


@caught_by(
    "test_scan_begins_after_the_key_given_living_or_not",
    "test_scan_goes_through_all_records_in_key_order",
)
class ScanSkipsAKey(BrokenStore):
    def scan(self, *, after: str = "", limit: int = 100) -> list[Record]:
        page = super().scan(after=after, limit=limit)
        return page[1:] if after else page


@caught_by(
    "test_scan_goes_through_all_records_in_key_order",
    "test_scan_shows_only_the_living_and_fills_its_pages_with_them",
)
class ScanKnowsNoLimit(BrokenStore):
    def scan(self, *, after: str = "", limit: int = 100) -> list[Record]:
        return super().scan(after=after)


@caught_by(
    "test_scan_begins_after_the_key_given_living_or_not",
)
class ScanNeedsTheKeyToGoOn(BrokenStore):
    def scan(self, *, after: str = "", limit: int = 100) -> list[Record]:
        if after and after not in self.records:
            return []
        return super().scan(after=after, limit=limit)


@caught_by(
    "test_scan_of_an_empty_store_is_empty",
)
class ScanOfNothingFails(BrokenStore):
    def scan(self, *, after: str = "", limit: int = 100) -> list[Record]:
        if not self.records:
            raise StoreUnavailableError("no such collection")
        return super().scan(after=after, limit=limit)


@caught_by(
    "test_scan_shows_only_the_living_and_fills_its_pages_with_them",
)
class ScanShowsTheDead(BrokenStore):
    def scan(self, *, after: str = "", limit: int = 100) -> list[Record]:
        return [self.records[key] for key in sorted(self.records) if key > after][:limit]


@caught_by(
    "test_scan_shows_only_the_living_and_fills_its_pages_with_them",
)
class ScanCountsTheDeadIntoItsPages(BrokenStore):
    def scan(self, *, after: str = "", limit: int = 100) -> list[Record]:
        now = self.clock.now()
        page = [self.records[key] for key in sorted(self.records) if key > after][:limit]
        return [record for record in page if not record.is_expired(now)]
