// A TCP proxy in front of a server, for what only shows on the wire: it counts the bytes that a client sends, and can
// hold back what the server says, which then looks like an answer that was lost.

import { connect, createServer, type Server, type Socket } from "node:net";

export interface Proxy {
  readonly port: number;
  upstream_bytes(): number;
  /** What the server says no longer gets through, until `heal`, which ends the connections so that clients come anew. */
  deafen(): void;
  heal(): void;
  close(): void;
}

export async function countingProxy(target: number): Promise<Proxy> {
  const sockets = new Set<Socket>();
  let upstream = 0;
  let deaf = false;
  const server: Server = createServer((client) => {
    const broker = connect(target, "127.0.0.1");
    for (const [from, to] of [
      [client, broker],
      [broker, client],
    ] as const) {
      sockets.add(from);
      from.on("data", (bytes) => {
        if (from === client) upstream += bytes.length;
        if (from === client || !deaf) to.write(bytes);
      });
      from.on("error", () => undefined);
      from.on("close", () => {
        sockets.delete(from);
        to.destroy();
      });
    }
  });
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  const drop = (): void => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    port: (server.address() as { port: number }).port,
    upstream_bytes: () => upstream,
    deafen: () => {
      deaf = true;
    },
    heal: () => {
      deaf = false;
      drop();
    },
    close: () => {
      drop();
      server.close();
    },
  };
}
