// Clusters with nodes that the test plays: what several files of tests share.

import { type Cluster, openCluster } from "../cluster.ts";
import { until } from "../until.ts";
import { PlayedNode } from "./played-node.ts";

export const HEARTBEAT_MS = 60_000;
const clusters: Cluster[] = [];
const nodes: PlayedNode[] = [];

/** For `afterEach`. */
export async function closeScene(): Promise<void> {
  for (const node of nodes.splice(0)) await node.close();
  for (const cluster of clusters.splice(0)) await cluster.close();
}

export async function open(): Promise<Cluster> {
  const cluster = await openCluster({ workers: 0, coordinator: { "heartbeat.interval": `${HEARTBEAT_MS}ms` } });
  clusters.push(cluster);
  return cluster;
}

export async function join(cluster: Cluster, name = "played"): Promise<PlayedNode> {
  const node = await PlayedNode.join(cluster, name);
  nodes.push(node);
  return node;
}

/** Another process with the node's key. */
export async function twin(cluster: Cluster, node: PlayedNode): Promise<PlayedNode> {
  const other = await node.twin(cluster);
  nodes.push(other);
  return other;
}

/** A cluster with one registered node. */
export async function one(): Promise<{ cluster: Cluster; node: PlayedNode }> {
  const cluster = await open();
  const node = await join(cluster);
  await node.register();
  return { cluster, node };
}

export async function viewOf(cluster: Cluster, node: PlayedNode) {
  const { nodes: all } = await cluster.client.query("node.list", {});
  const found = all.find(({ id }) => id === node.id);
  if (found === undefined) throw new Error(`${node.name} is not there`);
  return found;
}

export const statusIs = (cluster: Cluster, node: PlayedNode, status: string) =>
  until(async () => (await viewOf(cluster, node)).status === status, `${node.name} to be ${status}`);
