// Lines and templates that a shell would make something else of, and what GNU parallel makes of them: parallel.golden.json
// holds what the real one printed. Written anew, where it is installed, by: bun test/e2e/lines.ts

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { z } from "zod";

export const GOLDEN = join(import.meta.dir, "parallel.golden.json");

export const LINES = [
  "plain",
  "two words",
  "  spaces  around  ",
  "it's",
  "''",
  "'",
  'say "hi"',
  '"',
  "back\\slash",
  "a\\nb",
  "\\",
  "$(echo bad)",
  "`echo bad`",
  "$NO_SUCH $(NO_SUCH) $?",
  "~",
  "~root/x",
  "*",
  "[a-z]? {a,b}",
  "-n",
  "--help",
  "-",
  "tab\there",
  "\t",
  " ",
  "",
  "{}",
  "{.} {/} {//} {/.} {#} {%} {1}",
  "grüße 漢字 🦀 e\u0301",
  "\u00a0nbsp\u2028ls",
  "carriage\r",
  "\u001b[31mred\u0007",
  "\u007f",
  "; rm -rf /tmp/nothing & | > <",
  "(sub) {group;}",
  "#comment",
  "a #comment",
  "!history !!",
  "a=b",
  "%s %d %%",
  "100%",
  "^a,b:c@d+e=f",
  "/some/dir/file.tar.gz",
  "dir.d/file",
  "/",
  "./a/",
  ".hidden",
  "a b/c d.e f",
] as const;

export const TEMPLATES = [
  "printf '<%s>' {}; echo",
  "printf '<%s>'",
  "printf '<%s>' x{}y {}{}; echo",
  "printf '<%s>' {.} {/} {//} {/.} {#}; echo",
  "for a in {}; do printf '<%s>' \"$a\"; done; echo",
  "printf '<%s>' \"{}\" '{}'; echo",
  "echo 'lead {#}' && printf '<%s>' {/} | od -An -c",
] as const;

/** Standard output by template. */
export const Golden = z.object({ parallel: z.string(), outputs: z.record(z.string(), z.string()) });

/** What the GNU parallel on this machine prints, in an empty folder; undefined where there is none. */
export async function askParallel(template: string, input: string): Promise<string | undefined> {
  const program = Bun.which("parallel");
  if (program === null) return undefined;
  const cwd = mkdtempSync(join(tmpdir(), "claw-parallel-"));
  const child = Bun.spawn([program, "--keep-order", "--jobs", "1", template], {
    env: { ...process.env, PARALLEL_SHELL: "/bin/sh", SHELL: "/bin/sh", PARALLEL: "" },
    cwd,
    stdin: Buffer.from(input),
    stdout: "pipe",
    stderr: "ignore",
  });
  const output = await child.stdout.text();
  rmSync(cwd, { recursive: true });
  return output;
}

export const inputOf = (lines: readonly string[]): string => lines.map((line) => `${line}\n`).join("");

if (import.meta.main) {
  const outputs: Record<string, string> = {};
  for (const template of TEMPLATES) {
    const output = await askParallel(template, inputOf(LINES));
    if (output === undefined) throw new Error("GNU parallel is not installed");
    outputs[template] = output;
  }
  const [version = ""] = Bun.spawnSync(["parallel", "--version"]).stdout.toString().split("\n");
  await Bun.write(GOLDEN, `${JSON.stringify({ parallel: version, outputs }, undefined, 2)}\n`);
}
