// The coordinator: its broker, its log and view, its terms of leadership, and who may ask it what. Wiring and order of
// start and stop; decisions are the leader's.

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { CoordinatorConfig } from "../common/config.ts";
import { ClawError, messageOf } from "../common/errors.ts";
import { sharedNames, sharedNameText } from "../common/find-nodes.ts";
import { LIMITS } from "../common/limits.ts";
import type { Logger } from "../common/logging.ts";
import type { ClusterState } from "../common/models.ts";
import type { Paths } from "../common/paths.ts";
import { type Runtime, randomU32 } from "../common/runtime.ts";
import type { Service } from "../common/service.ts";
import { VERSION } from "../common/version.ts";
import { type Broker, openBroker } from "../communication/broker.ts";
import { CoordinatorBus, type Request } from "../communication/bus.ts";
import { flushWithin, type NatsConnection, watchEnd, watchLink } from "../communication/connection.ts";
import { removeEndpoint, writeEndpoint } from "../communication/endpoint.ts";
import { FileStore } from "../communication/files.ts";
import { openLease } from "../communication/lease.ts";
import { type LogUpkeep, openLog } from "../communication/log.ts";
import type { CommandAnswers, CommandType } from "../communication/messages.ts";
import type { Role } from "../communication/permissions.ts";
import type { QueryAnswers, QueryRequest, QueryType } from "../communication/queries.ts";
import { RequestClient } from "../communication/request.ts";
import { openSnapshots } from "../communication/snapshots.ts";
import { openStores, removeOutput } from "../communication/stores.ts";
import { asking } from "../communication/streams.ts";
import { Queries } from "../storage/queries.ts";
import { ThreadedMaker } from "../storage/thread.ts";
import type { View } from "../storage/view.ts";
import type { Committed } from "./committer.ts";
import { Desk } from "./desk.ts";
import { differing } from "./differing.ts";
import { coordinatorId, Election } from "./election.ts";
import type { HttpSource } from "./http/api.ts";
import type { HttpServer } from "./http/server.ts";
import { httpToken } from "./http/token.ts";
import { Metrics } from "./metrics.ts";
import { Peers } from "./peers.ts";
import { openView, renewView } from "./recovery.ts";
import { Scripts } from "./scripts.ts";
import { SnapshotRequests } from "./snapshot-requests.ts";
import { Snapshots } from "./snapshots.ts";
import { Terms, type TermsWorld } from "./term.ts";
import { waitingGroups } from "./waiting.ts";
import { WitnessKeeper } from "./witness.ts";

export interface CoordinatorOptions {
  runtime: Runtime;
  config: CoordinatorConfig;
  paths: Paths;
  logger: Logger;
  /** Who leads, for people: the machine's name. */
  name: string;
  /** Something ended it from inside: a full disk, a log that lost data, a bug. */
  onFailed: (error: unknown) => void;
}

/** How long a follower waits for a leader on behalf of somebody who asked over HTTP. */
const FORWARD_MS = 5_000;
/** For what is on its way into the log when the coordinator is asked to stop. */
const SETTLE_MS = 1_000;
/** A broker that is gone gives nothing more. */
const HEARD_MS = 500;
/** Nodes in error that the status names. */
const NAMED_NODES = 3;

export class Coordinator implements Service {
  readonly name = "coordinator";
  readonly #options: CoordinatorOptions;
  readonly #metrics = new Metrics();
  #broker: Broker | undefined;
  #connection: NatsConnection | undefined;
  #bus: CoordinatorBus | undefined;
  #view: View | undefined;
  #terms: Terms | undefined;
  #election: Election | undefined;
  #peers: Peers | undefined;
  #desk: Desk | undefined;
  #snapshots: Snapshots | undefined;
  #scripts: Scripts | undefined;
  #snapshot_requests: SnapshotRequests | undefined;
  #witness: WitnessKeeper | undefined;
  #http: HttpServer | undefined;
  #client: RequestClient | undefined;
  #patient: RequestClient | undefined;
  #removing: Promise<void> = Promise.resolve();
  #started_at = 0;
  /** Asked to stop; nothing of it goes on. */
  #stopping = false;
  #stopped = false;

  constructor(options: CoordinatorOptions) {
    this.#options = options;
  }

  get nats_url(): string {
    return this.#required(this.#broker).url;
  }

  /** With user and password where a NATS of the user's own wants them. */
  get login_url(): string {
    return this.#required(this.#broker).login_url;
  }

  get http_url(): string | undefined {
    return this.#http?.url;
  }

  /** Credentials for a worker on this machine; undefined with a broker of the user's own. */
  workerCredentials(): string | undefined {
    return this.#required(this.#broker).localCredentials("worker");
  }

  async start(): Promise<void> {
    const { runtime, config, paths, logger } = this.#options;
    this.#started_at = runtime.wall_ms();
    mkdirSync(paths.coordinator_dir, { recursive: true, mode: 0o700 });
    this.#broker = await openBroker(this.#options);
    this.#connection = await this.#broker.connect("claw coordinator");
    this.#watchConnection(this.#connection);
    const { log, store, lease } = await this.#openStreams(this.#connection);
    const files = {
      view: join(paths.coordinator_dir, "view.sqlite"),
      witness: join(paths.coordinator_dir, "witness.json"),
    };
    const common = { log, store, maker: new ThreadedMaker(), logger };
    const folder = join(paths.coordinator_dir, "recovery");
    const recovery = { ...files, ...common, folder, stopped: () => this.#stopped };
    const view = await openView(recovery);
    this.#view = view;
    const terms = this.#openTerms(this.#connection, log, view, (why) => renewView(recovery, view, why));
    await terms.start();
    const id = coordinatorId(paths.coordinator_dir, runtime, logger);
    this.#election = new Election({
      ...{ runtime, lease, id, name: this.#options.name },
      lease_ms: config.lease_ms,
      beat: randomU32(runtime),
      alone: this.#broker.managed,
      lead: () => terms.elect(),
      yield: (why) => terms.depose(why),
      ready: () => terms.ready,
      silent: (why, leading) =>
        logger.warn(leading ? "the lease cannot be kept for now" : "who leads cannot be seen for now", { why }),
      heard: () => logger.info("NATS answers for the lease again"),
      failed: this.#options.onFailed,
    });
    await this.#election.start();
    const leads = this.#election.trusted && (await terms.serving);
    if (this.#stopping) throw new ClawError("not_leading", "the coordinator was asked to stop before it served");
    if (terms.leader !== undefined) this.#broker.serves(terms.leader.state.cluster_id);
    if (!leads) {
      const { name: leader, holder: leader_id } = this.#election.holder ?? {};
      logger.info("follows the log; another coordinator leads", { leader, leader_id });
    }
    this.#peers = new Peers({
      ...{ runtime, id, connection: this.#connection, cluster: config.cluster, name: this.#options.name },
      every_ms: config.lease_ms,
      sequence: () => terms.sequence,
    });
    this.#witness = new WitnessKeeper(runtime, files.witness, this.#view, this.#options.onFailed);
    this.#snapshots = new Snapshots({
      ...{ ...files, ...common, runtime, settings: config.snapshot },
      folder: join(paths.coordinator_dir, "snapshot"),
      margin_bytes: LIMITS.log_margin_bytes,
      flush: () => terms.flush(),
      leading: () => terms.leader !== undefined,
      acknowledged: () => terms.sequence,
      shrunk: () => terms.prove(),
    });
    this.#scripts = this.#openScripts(this.#connection, view, terms);
    this.#snapshot_requests = new SnapshotRequests(runtime, this.#snapshots);
    await this.#snapshots.start();
    await this.#serveHttp();
    this.#writeEndpoint();
  }

  #watchConnection(connection: NatsConnection): void {
    const { logger, onFailed } = this.#options;
    watchEnd(connection, () => this.#stopped, onFailed);
    void watchLink(connection, {
      lost: () => {
        if (!this.#stopped) logger.warn("lost NATS; nothing is recorded, and nobody answered, until it is there again");
      },
      refused: () =>
        logger.warn("NATS refuses these credentials; trying on", {
          hint: "who runs that NATS changed its users: start claw with what it takes now, --creds or user and password in --nats",
        }),
      back: () => logger.info("NATS is there again"),
    }).catch((error: unknown) => logger.warn("connection watch ended", { why: messageOf(error) }));
  }

  #openScripts(connection: NatsConnection, view: View, terms: Terms): Scripts {
    const { runtime, config, logger } = this.#options;
    const queries = new Queries(view);
    return new Scripts({
      ...{ runtime, logger },
      store: new FileStore(connection, config.cluster, config.nats.domain),
      needed: (sha256) => {
        terms.flush();
        return queries.needsScript(sha256);
      },
      leading: () => terms.leader !== undefined,
    });
  }

  async #openStreams(connection: NatsConnection) {
    const { runtime, config } = this.#options;
    const { cluster, output, lease_ms } = config;
    const { replicas, domain, url } = config.nats;
    const hidden = url === undefined;
    return await asking("the cluster's streams", async () => {
      const [log, store, lease] = await Promise.all([
        openLog(connection, runtime, cluster, replicas, domain, undefined, hidden),
        openSnapshots(connection, runtime, cluster, replicas, domain, hidden),
        openLease(connection, cluster, replicas, lease_ms, domain),
        openStores(connection, cluster, output, replicas, domain),
      ]);
      return { log, store, lease };
    });
  }

  #openTerms(connection: NatsConnection, log: LogUpkeep, view: View, renew: TermsWorld["renew"]): Terms {
    const { runtime, config, paths, logger, name, onFailed } = this.#options;
    const { cluster, heartbeat } = config;
    const bus = new CoordinatorBus(connection, cluster, (sender, why) => {
      logger.warn("dropped a message that cannot be read", { sender, why });
    });
    const terms = new Terms(
      {
        ...{ runtime, log, view, bus, logger, renew },
        trusted: () => this.#election?.trusted === true,
        committed: (committed) => this.#committed(committed),
        leads: (leads) => {
          if (leads) this.#serve(bus, terms);
          else {
            bus.stop();
            this.#desk?.close();
          }
        },
        differs: differing(config.on_difference, paths.coordinator_dir, logger),
        failed: onFailed,
        decided: (event, state) => this.#metrics.decided(event, state),
        appended: (ms) => this.#metrics.appended(ms),
        looked: () => this.#desk?.looked(),
      },
      {
        ...{ cluster, name },
        heartbeat_ms: heartbeat.interval_ms,
        missed_heartbeats: heartbeat.missed,
        lost_after_ms: heartbeat.lost_after_ms,
        retention: config.retention,
        placement: config.placement,
      },
    );
    this.#bus = bus;
    this.#terms = terms;
    this.#desk = new Desk({
      ...{ runtime, view, log, terms, failed: onFailed },
      files: new FileStore(connection, cluster, config.nats.domain),
      snapshots: () => this.#snapshot_requests,
      status: () => this.#status(),
    });
    return terms;
  }

  /** Only who leads is asked: so no two coordinators ever give two answers, and none has to know how far another is. */
  #serve(bus: CoordinatorBus, terms: Terms): void {
    bus.serve({
      command: (type, payload, who, bytes, request) => this.#command(type, payload, who, bytes, request),
      query: (type, payload, _who, request) => this.#required(this.#desk).query(type, payload, request),
      up: (node, message, bytes) => terms.up(node, message, bytes),
    });
  }

  async #serveHttp(): Promise<void> {
    const { config, paths, logger, runtime } = this.#options;
    if (!config.http.enabled) return;
    const token = httpToken(join(paths.coordinator_dir, "http-token"), runtime);
    // What it is made of takes its time to load: whoever does without it does not wait for it.
    const { serveHttp } = await import("./http/server.ts");
    this.#asClient(); // it notices from now on whether the broker is there
    this.#http = serveHttp(this.#httpSource(), token, config.http.host, config.http.port);
    logger.debug("HTTP endpoint", { url: this.#http.url });
  }

  #httpSource(): HttpSource {
    const { runtime, onFailed: failed } = this.#options;
    return {
      runtime,
      failing: () => {
        // Who leads may be known for as long as the lease runs, though nothing can be done for him or by him.
        if (!this.#asClient().connected) return ["the connection to NATS is lost"];
        if (this.#election?.silent === true) return ["NATS does not answer"];
        const leads = this.#terms?.leader !== undefined || this.#election?.holder !== undefined;
        return leads ? [] : ["nobody leads"];
      },
      query: (type, request, left) => this.#ask(type, request, left),
      client: () => this.#asClient(),
      patient: () => (this.#patient ??= this.#newClient(Number.POSITIVE_INFINITY)),
      metrics: () => {
        const terms = this.#required(this.#terms);
        return this.#metrics.text({
          leading: terms.leader && { state: terms.leader.state, nodes: this.#required(this.#desk).nodes() },
          sequence: terms.sequence,
          started_at: this.#started_at,
          wall_ms: runtime.wall_ms(),
        });
      },
      failed,
    };
  }

  /** Answered here by who leads; a follower asks the leader, as any client does. */
  #ask<T extends QueryType>(
    type: T,
    request: Omit<QueryRequest<T>, "seen">,
    left: AbortSignal | undefined,
  ): Promise<QueryAnswers[T]> {
    if (this.#terms?.leader === undefined) return this.#asClient().query(type, request);
    const { promise, resolve, reject } = Promise.withResolvers<QueryAnswers[T]>();
    this.#required(this.#desk).query(type, request, {
      left,
      respond: (answer) => (answer instanceof ClawError ? reject(answer) : resolve(answer as QueryAnswers[T])),
    });
    return promise;
  }

  #asClient(): RequestClient {
    this.#client ??= this.#newClient(FORWARD_MS, LIMITS.http_broker_ms);
    return this.#client;
  }

  #newClient(patience_ms: number, away_ms?: number): RequestClient {
    const { runtime, config } = this.#options;
    const { url: nats_url, identity, managed } = this.#required(this.#broker);
    return new RequestClient(this.#required(this.#connection), {
      ...{ runtime, cluster: config.cluster, who: identity ?? "coordinator", nats_url, coordinator: { managed } },
      patience_ms,
      ...(away_ms === undefined ? {} : { away_ms }),
      onWaiting: () => undefined,
    });
  }

  #writeEndpoint(): void {
    const { config, paths } = this.#options;
    const broker = this.#required(this.#broker);
    const creds = broker.localCredentials("client");
    // A worker on this machine that is started by itself looks for its own beside them.
    broker.localCredentials("worker");
    const http_url = this.#http?.url;
    writeEndpoint(paths.data_dir, {
      version: 1,
      cluster: config.cluster,
      nats_url: broker.login_url, // the file is its user's only
      pid: process.pid,
      creds: creds ?? "",
      ...(http_url === undefined ? {} : { http_url, token_file: join(paths.coordinator_dir, "http-token") }),
    });
  }

  #required<T>(value: T | undefined): T {
    if (value === undefined) throw new Error("the coordinator was not started");
    return value;
  }

  #command(type: CommandType, payload: unknown, who: string, bytes: number, request: Request): void {
    if (type === "snapshot.take") {
      if (this.#snapshot_requests === undefined) request.respond(new ClawError("not_leading", "it is starting"));
      else this.#snapshot_requests.take((payload as { nonce: string }).nonce, request);
      return;
    }
    if (type !== "credentials.export") {
      this.#required(this.#terms).command(type, payload, who, bytes, request);
      return;
    }
    try {
      request.respond(this.#credentials((payload as { role: Role }).role, who));
    } catch (error) {
      if (!(error instanceof ClawError)) throw error;
      request.respond(error);
    }
  }

  #credentials(role: Role, who: string): CommandAnswers["credentials.export"] {
    const broker = this.#required(this.#broker);
    const issued = broker.issue(role, who);
    if (issued !== undefined) return { ...issued, nats_url: broker.url };
    throw new ClawError("unsupported", "the coordinator that leads did not start its NATS, and so has no keys of it", {
      hint: "ask the operator of that NATS for a user, and give it with --creds; if another claw started it, ask again when that one leads",
    });
  }

  /** One after the other, and by who leads: the others have heard the same. */
  #removeOutput(numbers: readonly number[]): void {
    const { config, logger } = this.#options;
    const connection = this.#connection;
    if (connection === undefined || this.#terms?.leader === undefined) return;
    this.#removing = this.#removing
      .then(() => removeOutput(connection, config.cluster, numbers, config.nats.domain))
      .catch((error: unknown) => logger.warn("output of forgotten tasks stays for now", { why: messageOf(error) }));
  }

  #committed(committed: Committed): void {
    for (const { numbers } of committed.changes.pruned) this.#removeOutput(numbers);
    if (committed.changes.pruned.length > 0 && this.#terms?.leader !== undefined) this.#scripts?.forgotten();
    this.#desk?.committed(committed);
  }

  #status(): ClusterState {
    const { config, name } = this.#options;
    const leader = this.#terms?.leader;
    if (leader === undefined) throw new ClawError("not_leading", "this coordinator is not leading");
    const { state } = leader;
    const broker = this.#required(this.#broker);
    const nodes = [...state.nodes.values()];
    const online = nodes.filter((node) => node.status === "online").length;
    const http_url = this.#http?.url;
    return {
      cluster: config.cluster,
      cluster_id: state.cluster_id,
      name,
      epoch: state.epoch,
      leader: state.leader,
      sequence: this.#terms?.sequence ?? 0,
      version: VERSION,
      started_at: this.#started_at,
      nats_url: broker.url,
      ...(http_url === undefined ? {} : { http_url }),
      broker: { managed: broker.managed, version: broker.version, sync: broker.managed ? "always" : "as configured" },
      coordinators: this.#peers?.list(this.#election?.holder?.holder) ?? [],
      nodes: { total: nodes.length, online },
      tasks: { ...state.totals },
      placement: {
        ...leader.scheduler.settings,
        ...(state.placement === undefined ? {} : { set: state.placement }),
      },
      waiting: waitingGroups(leader),
      notes: this.#notes(broker),
    };
  }

  /** What an operator should know. */
  #notes(broker: Broker): string[] {
    const dropped = this.#bus?.dropped ?? 0;
    const notes: string[] = [];
    if (broker.managed) {
      notes.push(
        "the log lives on this machine only: when it is down, the cluster waits; point nats.url at a NATS cluster to change that",
      );
    }
    const trouble = this.#snapshots?.trouble;
    if (trouble !== undefined) notes.push(trouble);
    const sick = [...(this.#terms?.leader?.state.nodes.values() ?? [])].filter(({ status }) => status === "error");
    for (const { info, reason } of sick.slice(0, NAMED_NODES)) notes.push(`${info.name} is in error: ${reason}`);
    if (sick.length > NAMED_NODES) notes.push(`${sick.length - NAMED_NODES} more nodes are in error: claw nodes`);
    const shared = [...sharedNames(this.#terms?.leader?.state.nodes.values() ?? [])];
    for (const [name, ids] of shared.slice(0, NAMED_NODES)) notes.push(sharedNameText(name, ids));
    if (dropped > 0) {
      notes.push(
        `messages that could not be read were dropped (${dropped}): the coordinator's log names their senders`,
      );
    }
    return notes;
  }

  async stop(): Promise<void> {
    const { paths, runtime } = this.#options;
    this.#stopping = true;
    // What the broker has taken is heard: the goodbye of the worker that `claw up` has just stopped.
    if (this.#connection !== undefined) await flushWithin(this.#connection, runtime, HEARD_MS);
    // Who takes over is waited for: first of all nothing more is taken, then the lease is given back.
    this.#bus?.stop();
    await this.#terms?.settled(SETTLE_MS);
    await this.#election?.stop();
    this.#peers?.stop();
    this.#terms?.depose("it is stopping");
    await this.#http?.stop();
    // A copy of a large view ends with its statement, seconds later: nobody waits for that to lead, only to close the view.
    const broken_off = this.#snapshots?.stop();
    this.#stopped = true;
    this.#terms?.stop();
    await broken_off;
    this.#witness?.stop();
    this.#scripts?.stop();
    this.#view?.close();
    removeEndpoint(paths.data_dir, process.pid);
    if (this.#connection !== undefined && !this.#connection.isClosed()) await this.#connection.close();
    await this.#broker?.close();
    this.#view = undefined;
    this.#connection = undefined;
    this.#broker = undefined;
  }
}
