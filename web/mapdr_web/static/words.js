// Numbers, times and states as people read them.

const whole = new Intl.NumberFormat("en");
export const count = (number) => whole.format(number);
export const many = (number, one, more = `${one}s`) => `${count(number)} ${number === 1 ? one : more}`;

export function rate(perSecond) {
  if (perSecond === null || perSecond === undefined) return null;
  return perSecond > 0 && perSecond < 9.95 ? perSecond.toFixed(1) : count(Math.round(perSecond));
}

export function size(octets) {
  if (octets === null) return "–";
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let value = octets, unit = 0;
  while (value >= 999.5 && unit < units.length - 1) { value /= 1000; unit += 1; }
  return `${unit === 0 || value >= 99.5 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

export function duration(seconds) {
  if (seconds < 1) return "under 1 s";
  if (seconds < 120) return `${Math.round(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  return `${Math.floor(hours / 24)} days`;
}

// Moments are told with the node's own offset: its clock counts, wherever the browser is.
export const clock = (moment) => (moment ? moment.slice(11, 19) : "–");
export const day = (moment) => moment.slice(0, 10);
export function when(moment, now) {
  if (!moment) return "–";
  return day(moment) === day(now) ? clock(moment) : `${day(moment)} ${clock(moment).slice(0, 5)}`;
}
export function ago(moment, now) {
  const seconds = (Date.parse(now) - Date.parse(moment)) / 1000;
  return seconds < 5 ? "now" : `${duration(seconds)} ago`;
}

// A state is a shape, a word and a colour.
const STATES = {
  running: ["●", "good"], draining: ["◐", "warn"], stopped: ["■", "bad"], silent: ["▲", "bad"], unknown: ["▲", "warn"],
  idle: ["●", "good"], sending: ["●", "good"], untried: ["○", "dim"], waiting: ["◐", "warn"], window: ["▼", "warn"],
  held: ["■", "warn"], down: ["▲", "bad"],
};
export function stateOf(word) {
  const [shape, level] = STATES[word] ?? ["○", "dim"];
  return { shape, level, word };
}
export const LEVELS = { bad: ["▲", "Problem"], warn: ["▲", "Attention"], good: ["●", "Good"], info: ["", ""] };

export const sum = (numbers) => numbers.reduce((all, each) => all + each, 0);
export const short = (uid) => (uid.length > 22 ? `…${uid.slice(-20)}` : uid);
