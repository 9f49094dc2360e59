// Where the endpoint listens.

import { ClawError, messageOf } from "../../common/errors.ts";
import type { HttpSource } from "./api.ts";
import { httpApp } from "./app.ts";
import { Streams } from "./streams.ts";

export interface HttpServer {
  readonly url: string;
  stop(): Promise<void>;
}

/** Serves on the port, or on a free one where it is taken. */
export function serveHttp(source: HttpSource, token: string, host: string, port: number): HttpServer {
  const streams = new Streams();
  const app = httpApp(source, token, host, streams);
  // A body that is too large is refused by the app, with a word: Bun, for one over 128 MB, has none.
  // Answers may be waited for, and streams be silent: who asked says how long.
  const options = { hostname: host, fetch: app.fetch, idleTimeout: 0 };
  const serve = (wanted: number) => Bun.serve({ ...options, port: wanted });
  const serveSomewhere = (): ReturnType<typeof serve> => {
    try {
      return serve(port);
    } catch (error) {
      if ((error as { code?: string }).code !== "EADDRINUSE") throw error;
      return serve(0);
    }
  };
  try {
    const server = serveSomewhere();
    return {
      url: `http://${host.includes(":") ? `[${host}]` : host}:${server.port}`,
      stop: async () => {
        streams.close();
        await server.stop(true);
      },
    };
  } catch (error) {
    throw new ClawError("bad_config", `cannot listen on ${host}, port ${port}: ${messageOf(error)}`, {
      hint: "http.host is an address of this machine; ports below 1024 need a privilege; http.enabled: false does without",
      field: "http.host",
      cause: error,
    });
  }
}
