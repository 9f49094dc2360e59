// Skills: what a node says of those that it has found, and what the cluster tells of them.

import { z } from "zod";
import { LIMITS } from "./limits.ts";
import type { NodeStatus } from "./vocabulary.ts";

export const SKILL_NAME = /^[a-z0-9][a-z0-9_-]{0,63}$/;
export const skillName = z.string().regex(SKILL_NAME, "is no skill's name");
const skillText = z.string().max(LIMITS.skill_text_chars);

/** A skill that a node has found, with what it lacks to be used there. */
export const Skill = z.strictObject({
  name: skillName,
  description: skillText,
  /** The kind of folder that it stands in, as OpenClaw names them; `config` for one that worker.yaml names. */
  source: z.string().max(64),
  /** Of its SKILL.md: whether two nodes have the same one. */
  hash: z.string().regex(/^[0-9a-f]{16}$/),
  /** Absent: nothing. */
  missing: z.array(skillText).min(1).max(LIMITS.skill_requirements).optional(),
  /** Other skills that it needs. */
  requires: z.array(skillName).min(1).max(LIMITS.skill_requirements).optional(),
});
export type Skill = z.infer<typeof Skill>;

/** A skill of the cluster: the nodes that have it, and whether it can be used there. */
export interface SkillView {
  name: string;
  /** As the first of its nodes has it. */
  description: string;
  nodes: {
    node: string;
    node_name: string;
    node_status: NodeStatus;
    /** On that node, with everything that it needs. */
    usable: boolean;
    /** Why it is not, in words. */
    reason?: string;
    missing?: string[];
    requires?: string[];
    source: string;
    hash: string;
  }[];
}
