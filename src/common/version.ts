// What this program is: stamped by scripts/build, read from package.json when it runs from source.

import packageJson from "../../package.json" with { type: "json" };

// Defines: the bundler puts a literal in their place. Without it the name does not exist, hence `typeof`.
declare const CLAW_VERSION: string | undefined;
declare const CLAW_COMMIT: string | undefined;

export const VERSION: string = typeof CLAW_VERSION === "undefined" ? packageJson.version : CLAW_VERSION;

/** The commit that the binary was built from; undefined when it runs from source or was built outside git. */
export const COMMIT: string | undefined =
  typeof CLAW_COMMIT === "undefined" || CLAW_COMMIT === "" ? undefined : CLAW_COMMIT;
