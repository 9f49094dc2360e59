// Looking something up in what lies in order.

/** Position of the first of which it is true, where it is true of all behind it; their number if of none. */
export function firstWhere<T>(list: readonly T[], is: (item: T) => boolean): number {
  let low = 0;
  let high = list.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    const item = list[middle];
    if (item !== undefined && !is(item)) low = middle + 1;
    else high = middle;
  }
  return low;
}
