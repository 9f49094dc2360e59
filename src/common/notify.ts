// sd_notify: tells systemd that the service is ready or stopping, over a datagram socket. Neither Bun nor Node has those,
// so libc is called.

import { dlopen, FFIType, ptr } from "bun:ffi";
import type { Environment } from "./paths.ts";

const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const PATH_BYTES = 108;

/** Sends `state` (READY=1, STOPPING=1, STATUS=…); false when nobody listens. Linux only, as systemd is. */
export function notify(env: Environment, state: string): boolean {
  const path = env["NOTIFY_SOCKET"];
  if (path === undefined || path === "" || process.platform !== "linux") return false;
  const name = Buffer.from(path.startsWith("@") ? `\0${path.slice(1)}` : path);
  if (name.length >= PATH_BYTES) return false;
  const address = Buffer.alloc(2 + name.length + (path.startsWith("@") ? 0 : 1));
  address.writeUInt16LE(AF_UNIX, 0);
  name.copy(address, 2);
  const libc = openLibc();
  if (libc === undefined) return false;
  const fd = libc.symbols.socket(AF_UNIX, SOCK_DGRAM, 0);
  if (fd < 0) return false;
  const body = Buffer.from(state);
  const sent = libc.symbols.sendto(fd, ptr(body), body.length, 0, ptr(address), address.length);
  libc.symbols.close(fd);
  return Number(sent) === body.length;
}

function openLibc() {
  for (const name of ["libc.so.6", `libc.musl-${process.arch === "arm64" ? "aarch64" : "x86_64"}.so.1`]) {
    try {
      return dlopen(name, {
        socket: { args: [FFIType.i32, FFIType.i32, FFIType.i32], returns: FFIType.i32 },
        sendto: {
          args: [FFIType.i32, FFIType.ptr, FFIType.u64, FFIType.i32, FFIType.ptr, FFIType.u32],
          returns: FFIType.i64,
        },
        close: { args: [FFIType.i32], returns: FFIType.i32 },
      });
    } catch {
      // the next name
    }
  }
  return undefined;
}
