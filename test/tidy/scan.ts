// Reads a source file once, for the rules of style (rules.ts): what it imports and exports, how long its functions are,
// and which names of the world around it it uses.

import { type Node, parseSync, visitorKeys } from "oxc-parser";

export interface Import {
  /** As written: `./limits.ts`, `zod`, `node:fs`. */
  from: string;
  line: number;
  /** The exporting side's names; `*` for all of them (a namespace, `export *`, a dynamic import). */
  names: string[];
}

export interface Export {
  name: string;
  line: number;
  is_type: boolean;
  /** The file itself uses the name, beside declaring it. */
  used_here: boolean;
}

export interface FunctionSpan {
  name: string;
  line: number;
  lines: number;
}

/** A global or a member of one: `setTimeout`, `Date`, `Math.random`, `process.exit`. */
export interface GlobalUse {
  name: string;
  line: number;
}

export interface Source {
  path: string;
  lines: number;
  first_line: string;
  imports: Import[];
  exports: Export[];
  functions: FunctionSpan[];
  globals: GlobalUse[];
}

type Ancestor = Node | undefined;

/** Calls `visit` for each node with its parent and grandparent. */
function walk(node: Node, visit: (node: Node, parent: Ancestor) => void, parent?: Node): void {
  visit(node, parent);
  for (const key of visitorKeys[node.type] ?? []) {
    const child: unknown = Reflect.get(node, key);
    for (const item of Array.isArray(child) ? child : [child]) {
      if (isNode(item)) walk(item, visit, node);
    }
  }
}

function isNode(value: unknown): value is Node {
  return typeof value === "object" && value !== null && "type" in value;
}

/** A function that gives the line (from 1) of an offset. */
function lineFinder(text: string): (offset: number) => number {
  const starts = [0];
  for (let at = text.indexOf("\n"); at !== -1; at = text.indexOf("\n", at + 1)) starts.push(at + 1);
  return (offset) => {
    let [low, high] = [0, starts.length - 1];
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if ((starts[middle] ?? 0) <= offset) low = middle;
      else high = middle - 1;
    }
    return low + 1;
  };
}

/** Is this identifier a use of a name in scope, rather than a property's, parameter's or type's own name? */
function isReference(node: Node, parent: Ancestor): boolean {
  if (parent === undefined) return true;
  if (parent.type === "MemberExpression") return parent.object === node || parent.computed;
  if (parent.type === "Property" || parent.type === "PropertyDefinition" || parent.type === "MethodDefinition") {
    return parent.value === node || parent.computed;
  }
  return !parent.type.startsWith("TS") || parent.type === "TSAsExpression" || parent.type === "TSNonNullExpression";
}

function nameOfFunction(node: Node, parent: Ancestor): string {
  if (node.type === "FunctionDeclaration" && node.id) return node.id.name;
  if (parent?.type === "VariableDeclarator" && parent.id.type === "Identifier") return parent.id.name;
  if (parent?.type === "MethodDefinition" || parent?.type === "Property" || parent?.type === "PropertyDefinition") {
    if (parent.key.type === "Identifier") return parent.key.name;
    if (parent.key.type === "PrivateIdentifier") return `#${parent.key.name}`;
  }
  return "(anonymous)";
}

interface Found {
  functions: FunctionSpan[];
  globals: GlobalUse[];
  dynamic: Import[];
  /** How often each name occurs as an identifier, of a value or of a type. */
  mentions: Map<string, number>;
}

function walkProgram(program: Node, lineAt: (offset: number) => number): Found {
  const found: Found = { functions: [], globals: [], dynamic: [], mentions: new Map() };
  walk(program, (node, parent) => {
    const line = lineAt(node.start);
    switch (node.type) {
      case "FunctionDeclaration":
      case "FunctionExpression":
      case "ArrowFunctionExpression":
        found.functions.push({ name: nameOfFunction(node, parent), line, lines: lineAt(node.end) - line + 1 });
        break;
      case "ImportExpression":
        if (node.source.type === "Literal" && typeof node.source.value === "string") {
          found.dynamic.push({ from: node.source.value, line, names: ["*"] });
        }
        break;
      case "MemberExpression":
        if (node.object.type === "Identifier" && node.property.type === "Identifier" && !node.computed) {
          found.globals.push({ name: `${node.object.name}.${node.property.name}`, line });
        }
        break;
      case "Identifier":
        found.mentions.set(node.name, (found.mentions.get(node.name) ?? 0) + 1);
        if (isReference(node, parent)) found.globals.push({ name: node.name, line });
        break;
    }
  });
  return found;
}

/** The names that a file declares at its top as types only. */
function typeNames(program: Node): Set<string> {
  const names = new Set<string>();
  if (program.type !== "Program") return names;
  for (const statement of program.body) {
    const declared = statement.type === "ExportNamedDeclaration" ? statement.declaration : statement;
    if (declared?.type === "TSInterfaceDeclaration" || declared?.type === "TSTypeAliasDeclaration") {
      names.add(declared.id.name);
    }
  }
  return names;
}

export function scan(path: string, text: string): Source {
  const parsed = parseSync(path, text);
  const error = parsed.errors[0];
  if (error !== undefined) throw new Error(`${path}: ${error.message}`);
  const lineAt = lineFinder(text);
  const found = walkProgram(parsed.program, lineAt);
  const types = typeNames(parsed.program);
  const imports: Import[] = parsed.module.staticImports.map((statement) => ({
    from: statement.moduleRequest.value,
    line: lineAt(statement.start),
    names: statement.entries.map(({ importName }) =>
      importName.kind === "Name" ? (importName.name ?? "") : importName.kind === "Default" ? "default" : "*",
    ),
  }));
  const exports: Export[] = [];
  for (const entry of parsed.module.staticExports.flatMap((statement) => statement.entries)) {
    const line = lineAt(entry.start);
    if (entry.moduleRequest) {
      imports.push({ from: entry.moduleRequest.value, line, names: [entry.importName.name ?? "*"] });
    }
    const name = entry.exportName.kind === "Default" ? "default" : entry.exportName.name;
    if (!name || exports.some((other) => other.name === name)) continue;
    const declared = parsed.module.staticExports
      .flatMap((statement) => statement.entries)
      .filter((other) => other.exportName.name === name).length;
    exports.push({
      name,
      line,
      is_type: entry.isType || types.has(entry.localName.name ?? name),
      used_here: (found.mentions.get(entry.localName.name ?? name) ?? 0) > declared,
    });
  }
  const { functions, globals } = found;
  const first_line = text.slice(0, text.indexOf("\n"));
  return {
    path,
    lines: text.split("\n").length - 1,
    first_line,
    imports: [...imports, ...found.dynamic],
    exports,
    functions,
    globals,
  };
}
