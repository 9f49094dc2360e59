// What a task may say of the attributes of the nodes that it goes to: `zone=eu`, `zone!=eu`, `zone in eu,us`, `zone`.

import { ClawError } from "../common/errors.ts";
import type { Condition, NodeInfo } from "../common/models.ts";

/** What its owner wrote wins over what every node has. */
export function attributeOf(info: NodeInfo, name: string): string | undefined {
  const own = Object.hasOwn(info.attributes, name) ? info.attributes[name] : undefined;
  if (own !== undefined) return own;
  switch (name) {
    case "os":
    case "arch":
    case "name":
    case "version":
      return info[name];
    default:
      return undefined;
  }
}

/** What a node is by itself. */
export function isInherent(attribute: string): boolean {
  return attribute === "os" || attribute === "arch" || attribute === "name" || attribute === "version";
}

/** A node without the attribute is different from every value. */
export function holds(info: NodeInfo, { attribute, op, values }: Condition): boolean {
  const value = attributeOf(info, attribute);
  switch (op) {
    case "=":
    case "in":
      return value !== undefined && values.includes(value);
    case "!=":
      return value === undefined || !values.includes(value);
    case "exists":
      return value !== undefined;
  }
}

export function conditionText({ attribute, op, values }: Condition): string {
  if (op === "exists") return attribute;
  return op === "in" ? `${attribute} in ${values.join(",")}` : `${attribute}${op}${values.join("")}`;
}

/** As it is typed behind an option; `option` is named where it is wrong. */
export function parseCondition(option: string, text: string): Condition {
  const compared = /^([^=!]+?)\s*(!=|==?)\s*(.*)$/s.exec(text.trim());
  if (compared !== null) {
    const [, attribute = "", sign, value = ""] = compared;
    return { attribute: attribute.trim(), op: sign === "!=" ? "!=" : "=", values: [value] };
  }
  const among = /^(\S+)\s+in\s+(.+)$/s.exec(text.trim());
  if (among !== null) {
    const [, attribute = "", list = ""] = among;
    const values = list
      .replace(/^\((.*)\)$/s, "$1")
      .split(",")
      .map((value) => value.trim())
      .filter((value) => value !== "");
    if (values.length > 0) return { attribute, op: "in", values };
  }
  const alone = /^([^\s=!,()]+)(\s+exists)?$/.exec(text.trim());
  if (alone?.[1] !== undefined) return { attribute: alone[1], op: "exists", values: [] };
  throw new ClawError("usage", `'${text}' says nothing of an attribute`, {
    hint: `${option} zone=eu, ${option} 'zone!=eu', ${option} 'zone in eu,us', or ${option} zone where any value will do`,
    field: option,
  });
}
