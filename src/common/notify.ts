// sd_notify: tells systemd that the service is ready or stopping, over a datagram socket. Neither Bun nor Node has those,
// so libc is called, and where that cannot be, systemd's own program.

import { FFIType, ptr } from "bun:ffi";
import { openLibc } from "./libc.ts";
import type { Environment } from "./paths.ts";

const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2_000_000;
const PATH_BYTES = 108; // of sockaddr_un
const PROGRAM_DEADLINE_MS = 2000;
const CALLS = {
  socket: { args: [FFIType.i32, FFIType.i32, FFIType.i32], returns: FFIType.i32 },
  sendto: {
    args: [FFIType.i32, FFIType.ptr, FFIType.u64, FFIType.i32, FFIType.ptr, FFIType.u32],
    returns: FFIType.i64,
  },
  close: { args: [FFIType.i32], returns: FFIType.i32 },
} as const;

/** One way of sending: whether the message left; undefined when this way does not exist here. */
type Send = (socket: string, state: string) => boolean | undefined;

/** Sends `state` (READY=1, STOPPING=1, STATUS=…); false when nobody listens. Linux only, as systemd is. */
export function notify(
  env: Environment,
  state: string,
  ways: readonly Send[] = [throughLibc, throughProgram],
): boolean {
  const socket = env["NOTIFY_SOCKET"];
  if (socket === undefined || !/^[/@]./.test(socket) || process.platform !== "linux") return false;
  for (const send of ways) {
    const sent = send(socket, state);
    if (sent !== undefined) return sent;
  }
  return false;
}

function throughLibc(socket: string, state: string): boolean | undefined {
  const is_abstract = socket.startsWith("@");
  const name = Buffer.from(is_abstract ? `\0${socket.slice(1)}` : socket);
  // A name of the filesystem is ended by a zero, an abstract one by the length.
  if (name.length + (is_abstract ? 0 : 1) > PATH_BYTES) return false;
  const libc = openLibc(CALLS);
  if ("error" in libc) return undefined;
  const address = Buffer.alloc(2 + name.length + (is_abstract ? 0 : 1));
  address.writeUInt16LE(AF_UNIX, 0); // the byte order of every machine that claw is built for
  name.copy(address, 2);
  const fd = libc.calls.socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  const body = Buffer.from(state);
  const sent = libc.calls.sendto(fd, ptr(body), body.length, 0, ptr(address), address.length);
  libc.calls.close(fd);
  return Number(sent) === body.length;
}

/** Needs to speak for another process, hence `--pid`: the unit takes notice of its main process only. */
export function throughProgram(socket: string, state: string): boolean | undefined {
  const program = Bun.which("systemd-notify");
  if (program === null) return undefined;
  const { exitCode } = Bun.spawnSync([program, `--pid=${process.pid}`, state], {
    env: { NOTIFY_SOCKET: socket },
    stdio: ["ignore", "ignore", "ignore"],
    timeout: PROGRAM_DEADLINE_MS,
  });
  return exitCode === 0;
}
