// The typed rejection that a request has to end with.

import { ClawError, type WireError } from "../../src/common/errors.ts";

export async function rejection(promise: Promise<unknown>): Promise<WireError> {
  const answer = await promise.then(
    (value) => new Error(`it was taken: ${JSON.stringify(value)}`),
    (reason: unknown) => reason,
  );
  if (!(answer instanceof ClawError)) throw answer;
  return answer.toWire();
}
