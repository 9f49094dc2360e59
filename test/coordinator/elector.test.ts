// Electors over one lease, with the clock in the test's hand: who leads when, and that no two may answer at once.

import { describe, expect, test } from "bun:test";
import type { LeaseEntry, LeaseRecord, LeaseWritten } from "../../src/communication/lease.ts";
import { Elector } from "../../src/coordinator/elector.ts";

const LEASE_MS = 2_000;

/** The lease, and the questions that wait for their answers. */
class Store {
  now_ms = 0;
  entry: LeaseEntry = { record: undefined, revision: 0, bucket: "1" };

  write(record: LeaseRecord, revision: number): LeaseWritten | undefined {
    if (revision !== this.entry.revision) return undefined;
    this.entry = { ...this.entry, record, revision: revision + 1 };
    return this.entry;
  }
}

class Candidate {
  readonly elector: Elector;
  readonly told: string[] = [];
  /** Nothing gets through in either direction. */
  cut = false;
  /** Knows the log. */
  ready = true;
  readonly name: string;
  #asked: (() => void)[] = [];

  constructor(store: Store, id: string, alone = false, name = id) {
    this.name = name;
    const answer = (reply: () => void): void => {
      this.#asked.push(() => (this.cut ? this.elector.silent(store.now_ms) : reply()));
    };
    this.elector = new Elector(
      {
        look: () => answer(() => this.elector.seen(store.entry, store.now_ms)),
        write: (record, revision) =>
          answer(() => {
            const written = store.write(record, revision);
            if (written === undefined) this.elector.refused(store.now_ms);
            else this.elector.written(written, store.now_ms);
          }),
        lead: () => this.told.push(`leads at ${store.now_ms}`),
        yield: (why) => this.told.push(`yields: ${why}`),
        ready: () => this.ready,
      },
      { id, name, lease_ms: LEASE_MS, beat: 0, alone },
    );
  }

  turn(now_ms: number): void {
    this.elector.tick(now_ms);
    for (let asked = this.#asked.shift(); asked !== undefined; asked = this.#asked.shift()) asked();
  }
}

/** Lets time pass in steps of 50 ms; those that may answer at a step are never two. */
function pass(store: Store, candidates: readonly Candidate[], duration_ms: number): void {
  for (const end_ms = store.now_ms + duration_ms; store.now_ms < end_ms; ) {
    store.now_ms += 50;
    for (const one of candidates) one.turn(store.now_ms);
    expect(candidates.filter(({ elector }) => elector.trusted(store.now_ms)).length).toBeLessThan(2);
  }
}

function three() {
  const store = new Store();
  const all = ["a", "b", "c"].map((name) => new Candidate(store, name));
  pass(store, all, 3_000);
  const leader = all.find(({ elector }) => elector.leading)!;
  const others = all.filter((one) => one !== leader);
  return { store, all, leader, others };
}

describe("a lease", () => {
  test("is taken at once by one that is alone, and by one of several otherwise", () => {
    const store = new Store();
    const alone = new Candidate(store, "a", true);
    alone.turn(0);
    expect(alone.told).toEqual(["leads at 0"]);
    const { leader, others } = three();
    expect(leader.told.length).toBe(1);
    expect(others.flatMap(({ told }) => told)).toEqual([]);
  });

  test("is renewed for as long as its holder lives", () => {
    const { store, all, leader } = three();
    pass(store, all, 60_000);
    expect(leader.elector.trusted(store.now_ms)).toBe(true);
    expect(all.flatMap(({ told }) => told).length).toBe(1);
  });

  test("is taken over when its holder is silent for longer than it lasts, and within 3 s", () => {
    const { store, leader, others } = three();
    const died_ms = store.now_ms;
    pass(store, others, 3_000);
    const next = others.find(({ elector }) => elector.leading)!;
    const [told] = next.told;
    const took_ms = Number(told?.split(" ").at(-1)) - died_ms;
    expect(took_ms).toBeGreaterThan(LEASE_MS * 0.6);
    expect(took_ms).toBeLessThan(3_000);
    leader.turn(store.now_ms);
    expect(leader.told.at(-1)).toBe(`yields: ${next.elector.holder?.name} leads`);
  });

  test("is left to another by one that does not know the log, until it does", () => {
    const { store, others } = three();
    for (const one of others) one.ready = false;
    pass(store, others, 10_000);
    expect(others.flatMap(({ told }) => told)).toEqual([]);
    // It asks no more often than otherwise.
    for (const { elector } of others) expect(elector.next_ms).toBeGreaterThan(store.now_ms);
    others[1]!.ready = true;
    pass(store, others, 1_000);
    expect(others.map(({ elector }) => elector.leading)).toEqual([false, true]);
  });

  test("that is given back is taken as soon as somebody hears of it", () => {
    const { store, leader, others } = three();
    const last = leader.elector.stop()!;
    expect(store.write(last.record, last.revision)).toBeDefined();
    for (const other of others) other.elector.tick(store.now_ms, true);
    pass(store, others, 100);
    expect(others.filter(({ elector }) => elector.trusted(store.now_ms)).length).toBe(1);
  });

  test("of an earlier life of the same coordinator is taken at once", () => {
    const { store, leader } = three();
    const again = new Candidate(store, leader.elector.holder!.holder);
    again.turn(store.now_ms);
    expect(again.told).toEqual([`leads at ${store.now_ms}`]);
  });
});

describe("a leader", () => {
  test("that is cut off answers nobody from the end of its lease on, and leads on when nobody else did", () => {
    const { store, leader } = three();
    leader.cut = true;
    pass(store, [leader], LEASE_MS);
    expect(leader.elector.trusted(store.now_ms)).toBe(false);
    pass(store, [leader], 10_000);
    leader.cut = false;
    pass(store, [leader], 500);
    expect(leader.elector.trusted(store.now_ms)).toBe(true);
    expect(leader.told.length).toBe(1);
  });

  test("that is cut off gives up when another has led since", () => {
    const { store, all, leader, others } = three();
    leader.cut = true;
    pass(store, all, 10_000);
    leader.cut = false;
    pass(store, all, 1_000);
    expect(leader.told.at(-1)).toMatch(/^yields: [abc] leads$/);
    expect(others.filter(({ elector }) => elector.leading).length).toBe(1);
  });

  test("that gives up for one of the same name says that one's id", () => {
    const store = new Store();
    const twins = ["1", "2"].map((id) => new Candidate(store, id, false, "vm"));
    pass(store, twins, 3_000);
    const [leader, other] = twins[0]!.elector.leading ? twins : twins.toReversed();
    leader!.cut = true;
    pass(store, twins, 10_000);
    leader!.cut = false;
    pass(store, twins, 1_000);
    expect(leader!.told.at(-1)).toBe(`yields: vm (${other!.elector.holder!.holder}) leads`);
  });

  test("whose lease the broker has forgotten keeps it: nobody takes what may still be trusted", () => {
    const { store, all, leader } = three();
    store.entry = { record: undefined, revision: 0, bucket: "2" };
    pass(store, all, 10_000);
    expect(leader.elector.trusted(store.now_ms)).toBe(true);
    expect(all.flatMap(({ told }) => told).length).toBe(1);
  });

  test("whose lease was forgotten twice keeps it, although one that was deaf meanwhile saw none both times", () => {
    const store = new Store();
    const [one, other] = [new Candidate(store, "a"), new Candidate(store, "b")];
    pass(store, [one, other], 100);
    other.cut = true;
    pass(store, [one, other], 3_000);
    expect(one.elector.trusted(store.now_ms)).toBe(true);
    store.entry = { record: undefined, revision: 0, bucket: "2" };
    other.cut = false;
    other.turn(store.now_ms);
    other.turn(store.now_ms + 1);
    expect(other.elector.leading).toBe(false);
    pass(store, [one, other], 5_000);
    expect(other.told).toEqual([]);
  });

  test("that was won a moment before the broker forgot it is not won again by one that had waited as long", () => {
    const store = new Store();
    const [one, other] = [new Candidate(store, "a"), new Candidate(store, "b")];
    for (const both of [one, other]) both.turn(store.now_ms);
    store.now_ms = LEASE_MS * 1.125;
    one.turn(store.now_ms);
    expect(one.elector.trusted(store.now_ms)).toBe(true);
    store.entry = { record: undefined, revision: 0, bucket: "2" };
    other.turn(store.now_ms); // over none, as it had seen it: but that was another none
    expect(store.entry.record?.holder).toBe("b");
    expect(other.elector.leading).toBe(false);
    pass(store, [one, other], 10_000);
    expect(one.told).toEqual([`leads at ${LEASE_MS * 1.125}`, "yields: the broker forgot its lease"]);
    expect(other.told.length).toBe(1);
  });

  test("that was overwritten so is no earlier life's to whoever wrote it and is started anew", () => {
    const store = new Store();
    const [one, other] = [new Candidate(store, "a"), new Candidate(store, "b")];
    for (const both of [one, other]) both.turn(store.now_ms);
    store.now_ms = LEASE_MS * 1.125;
    one.turn(store.now_ms);
    one.cut = true;
    store.entry = { record: undefined, revision: 0, bucket: "2" };
    other.turn(store.now_ms);
    const next = new Candidate(store, "b");
    pass(store, [one, next], 3_000);
    expect(next.elector.leading).toBe(true);
  });

  test("whose revision another bucket has come to as well is lost to who renews it there", () => {
    const { store, leader, others } = three();
    const { revision } = store.entry;
    const [heir] = others;
    store.entry = { record: { ...store.entry.record!, holder: "c", name: "c", bucket: "2" }, revision, bucket: "2" };
    heir!.cut = true;
    store.now_ms += LEASE_MS / 3;
    leader.turn(store.now_ms);
    expect(leader.told.at(-1)).toBe("yields: the broker forgot its lease");
    pass(store, [leader, ...others], 5_000);
  });

  test("of many renewals that comes back to another's first ones follows, and leads again when that one is gone", () => {
    const { store, leader, others } = three();
    const [heir, third] = others;
    third!.cut = true;
    pass(store, [leader, heir!, third!], 60_000);
    leader.cut = true;
    store.entry = { record: undefined, revision: 0, bucket: "2" };
    pass(store, [leader, heir!, third!], 3_000);
    expect(heir!.elector.leading).toBe(true);
    leader.cut = false;
    pass(store, [leader, heir!, third!], 1_000);
    expect(leader.told.at(-1)).toBe(`yields: ${heir!.name} leads`);
    heir!.cut = true;
    pass(store, [leader, heir!, third!], 5_000);
    expect(leader.elector.trusted(store.now_ms)).toBe(true);
  });

  test("whose lease was forgotten while it slept does not take it for its own", () => {
    const { store, leader, others } = three();
    store.now_ms += 10_000;
    store.entry = { record: undefined, revision: 0, bucket: "2" };
    leader.turn(store.now_ms);
    expect(leader.told.at(-1)).toBe("yields: its lease was lost");
    pass(store, [leader, ...others], 5_000);
  });
});
