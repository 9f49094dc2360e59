// How a command that was typed gets to what it does: with a connection to its cluster, which is closed behind it.

import type { Command } from "commander";
import type { RequestClient } from "../communication/request.ts";
import type { Io } from "./io.ts";

/** Gives the exit code. */
export type Action = (
  io: Io,
  client: RequestClient,
  words: string[],
  options: Record<string, never>,
) => Promise<number>;
export type On = (command: Command, action: Action) => void;
