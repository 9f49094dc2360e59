// A TCP proxy in front of a server, for what only shows on the wire: it counts the bytes that a client sends, and can
// keep to itself what either side says. `heal` drops what it kept and ends the connections: clients come anew.

import { connect, createServer, type Server, type Socket } from "node:net";

export interface Proxy {
  readonly port: number;
  upstream_bytes(): number;
  /** The server's words no longer get through: what looks like answers that are lost. */
  deafen(): void;
  /** The same for the connections that are there now; new ones hear. */
  deafenPresent(): void;
  /** The client's words no longer get through: what looks like requests that are lost. */
  mute(): void;
  /** Bytes of the client that did not get through. */
  held(): number;
  heal(): void;
  close(): void;
}

export async function countingProxy(target: number): Promise<Proxy> {
  const sockets = new Set<Socket>();
  let upstream = 0;
  let held = 0;
  let deaf = false;
  let muted = false;
  const deafened = new Set<Socket>();
  const server: Server = createServer((client) => {
    const broker = connect(target, "127.0.0.1");
    client.on("data", (bytes) => {
      if (muted) held += bytes.length;
      else broker.write(bytes);
      upstream += bytes.length;
    });
    broker.on("data", (bytes) => {
      if (!deaf && !deafened.has(client)) client.write(bytes);
    });
    for (const [one, other] of [
      [client, broker],
      [broker, client],
    ] as const) {
      sockets.add(one);
      one.on("error", () => undefined);
      one.on("close", () => {
        sockets.delete(one);
        other.destroy();
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
    deafenPresent: () => {
      for (const socket of sockets) deafened.add(socket);
    },
    mute: () => {
      muted = true;
      held = 0;
    },
    held: () => held,
    heal: () => {
      deaf = false;
      muted = false;
      drop();
    },
    close: () => {
      drop();
      server.close();
    },
  };
}
