// Figures in Prometheus' text format (version 0.0.4). Ours instead of a library's, because a run of a hundred thousand tasks
// is one observation with a weight, which prom-client 15 has not.

export interface Sample {
  labels?: Record<string, string>;
  value: number;
}

/** One family: its help, its type and its lines. */
export function family(name: string, type: "gauge" | "counter", help: string, samples: readonly Sample[]): string {
  const lines = samples.map(({ labels, value }) => `${name}${labelText(labels)} ${value}`);
  return [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, ...lines].join("\n");
}

function labelText(labels: Record<string, string> | undefined): string {
  const parts = Object.entries(labels ?? {}).map(([name, value]) => `${name}="${escaped(value)}"`);
  return parts.length === 0 ? "" : `{${parts.join(",")}}`;
}

function escaped(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
}

export class Histogram {
  readonly #name: string;
  readonly #help: string;
  readonly #bounds: readonly number[];
  /** One more than bounds: what is above all of them. */
  readonly #counts: number[];
  #sum = 0;

  /** `bounds`: the upper ends of the buckets, rising. */
  constructor(name: string, help: string, bounds: readonly number[]) {
    this.#name = name;
    this.#help = help;
    this.#bounds = bounds;
    this.#counts = [...bounds, 0].map(() => 0);
  }

  observe(value: number, weight = 1): void {
    const found = this.#bounds.findIndex((bound) => value <= bound);
    const at = found < 0 ? this.#bounds.length : found;
    this.#counts[at] = (this.#counts[at] ?? 0) + weight;
    this.#sum += value * weight;
  }

  text(): string {
    const name = this.#name;
    const lines = [`# HELP ${name} ${this.#help}`, `# TYPE ${name} histogram`];
    let below = 0;
    for (const [at, count] of this.#counts.entries()) {
      below += count;
      lines.push(`${name}_bucket{le="${this.#bounds[at] ?? "+Inf"}"} ${below}`);
    }
    return [...lines, `${name}_sum ${this.#sum}`, `${name}_count ${below}`].join("\n");
  }
}
