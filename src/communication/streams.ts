// Making what is missing of NATS's streams, by several coordinators at once: whoever comes second takes what is there.

import type { JetStreamManager, StreamConfig, StreamInfo } from "nats";

const STREAM_NOT_FOUND = 10059;
const NAME_IN_USE = 10058;

export type NewStream = Partial<StreamConfig> & { name: string; subjects: string[] };

/** The server's number for what went wrong with a request to JetStream. */
export function errorCode(error: unknown): number | undefined {
  return (error as { api_error?: { err_code?: number } }).api_error?.err_code;
}

export function isStreamMissing(error: unknown): boolean {
  return errorCode(error) === STREAM_NOT_FOUND;
}

/** The stream with this name as it is, made of `config` where there is none. */
export async function ensureStream(manager: JetStreamManager, config: NewStream): Promise<StreamInfo> {
  return await manager.streams.info(config.name).catch(async (missing: unknown) => {
    if (!isStreamMissing(missing)) throw missing;
    return await manager.streams.add(config).catch(async (error: unknown) => {
      if (errorCode(error) !== NAME_IN_USE) throw error;
      return await manager.streams.info(config.name);
    });
  });
}
