// Values of options: read, or refused with the option's name.

import { ClawError } from "../common/errors.ts";
import { parseDuration } from "../common/units.ts";

export function oneOf<T extends string>(option: string, given: string, valid: readonly T[]): T {
  if ((valid as readonly string[]).includes(given)) return given as T;
  throw new ClawError("usage", `${option} is one of ${valid.join(", ")}, not '${given}'`, { field: option });
}

export function number(option: string, text: string, most: number, whole = false, least = 0): number {
  const value = Number(text);
  const none = !/^(\d+\.?\d*|\.\d+)$/.test(text) || (whole && !Number.isInteger(value));
  if (none || value < least || value > most) {
    const kind = whole ? "whole number" : "number";
    throw new ClawError("usage", `${option} is a ${kind} from ${least} to ${most}, not '${text}'`, { field: option });
  }
  return value;
}

/** A whole number of something of which there is at least one. */
export function count(option: string, text: string, most: number): number {
  return number(option, text, most, true, 1);
}

export function duration(option: string, text: string): number {
  return quantity(option, text, parseDuration);
}

/** What is wrong with it is said with the option's name. */
export function quantity(option: string, text: string, parse: (text: string) => number): number {
  try {
    return parse(text);
  } catch (error) {
    if (!(error instanceof ClawError)) throw error;
    const { code, message, hint } = error;
    throw new ClawError(code, `${option}: ${message}`, { ...(hint === undefined ? {} : { hint }), field: option });
  }
}

/** As pairs, for what has one value only: two of them would leave one without a word. */
export function distinct(option: string, given: readonly string[] | undefined): Record<string, string> | undefined {
  const found = pairs(option, given);
  for (const pair of given ?? []) {
    const name = pair.slice(0, pair.indexOf("="));
    const other = found?.[name];
    if (other === undefined || pair === `${name}=${other}`) continue;
    throw new ClawError("usage", `${option} ${name} has two values: ${pair.slice(name.length + 1)} and ${other}`, {
      hint: `leave ${option} ${pair} or ${option} ${name}=${other} away`,
      field: option,
    });
  }
  return found;
}

export function pairs(option: string, given: readonly string[] | undefined): Record<string, string> | undefined {
  if (given === undefined) return undefined;
  return Object.fromEntries(
    given.map((pair) => {
      const at = pair.indexOf("=");
      if (at < 1) throw new ClawError("usage", `${option} is NAME=VALUE, not '${pair}'`, { field: option });
      return [pair.slice(0, at), pair.slice(at + 1)];
    }),
  );
}
