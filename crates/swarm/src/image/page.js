'use strict';
// Rows are made anew each second from status.json, in the words of page.rs. Text is set, never parsed.
const none = '–';
const byId = id => document.getElementById(id);
const mostRows = Number(byId('rows').dataset.most);
let status = null;
let order = { key: null, down: false };

function rate(bytes) {
  if (bytes === null) return none;
  if (bytes < 1e6) return Math.ceil(bytes / 1e3) + ' kB/s';
  if (bytes < 1e9) return (bytes / 1e6).toFixed(1) + ' MB/s';
  return (bytes / 1e9).toFixed(2) + ' GB/s';
}

function duration(seconds) {
  if (seconds === null) return none;
  const hours = Math.floor(seconds / 3600), minutes = Math.floor(seconds / 60) % 60;
  const two = n => String(n).padStart(2, '0');
  if (hours >= 100) return '> 99 h';
  return (hours ? hours + ':' + two(minutes) : minutes) + ':' + two(seconds % 60);
}

function element(tag, parts, looks) {
  const made = document.createElement(tag);
  if (looks) made.className = looks;
  made.append(...parts);
  return made;
}

function looks(client) {
  if (client.phase === 'failed') return 'bad';
  if (client.silent) return 'mild';
  return client.phase === 'seeding' || client.phase === 'done' ? 'good' : 'going';
}

function progress(client) {
  const words = client.phase + (client.silent ? ', silent' : '') + (client.why ? ': ' + client.why : '');
  const parts = [];
  if (client.percent !== null) {
    const bar = document.createElement('progress');
    bar.max = 100;
    bar.value = client.percent;
    parts.push(bar, element('b', [client.percent.toFixed(1) + ' %']), ' ');
  }
  parts.push(element('span', [words], 'phase'));
  return element('td', parts);
}

function row(client) {
  const reports = client.host !== '' || client.uptime_seconds !== null;
  const under = client.host !== '' ? client.address : reports ? '' : 'does not report';
  const name = element('th', [client.host || client.address, element('small', [under])]);
  name.scope = 'row';
  return element('tr', [
    name,
    element('td', [client.image]),
    progress(client),
    element('td', [rate(client.down_rate)], 'number'),
    element('td', [rate(client.up_rate)], 'number wide'),
    element('td', [duration(client.seconds_left)], 'number'),
    element('td', [duration(client.uptime_seconds)], 'number wide'),
  ], looks(client));
}

// What is not known comes last, whichever way the rest is sorted.
function compare(a, b) {
  const of = client => order.key === 'host' ? client.host || client.address : client[order.key];
  const [x, y] = [of(a), of(b)];
  if (x === null || y === null) return (x === null) - (y === null);
  const sign = typeof x === 'string' ? x.localeCompare(y, undefined, { numeric: true }) : x - y;
  return order.down ? -sign : sign;
}

function swarm(one) {
  const name = element('th', [one.image]);
  name.scope = 'row';
  const copies = one.copies === null ? none : one.copies.toFixed(1);
  const cells = [one.leechers, one.seeders, copies].map(n => element('td', [String(n)], 'number'));
  return element('tr', [name, ...cells]);
}

function show() {
  const clients = order.key ? [...status.clients].sort(compare) : status.clients;
  byId('rows').replaceChildren(...clients.slice(0, mostRows).map(row));
  byId('nobody').hidden = clients.length > 0;
  byId('swarms').replaceChildren(...status.swarms.map(swarm));
  const ready = clients.filter(client => client.phase === 'seeding' || client.phase === 'done').length;
  byId('ready').textContent = ready;
  byId('clients').textContent = clients.length;
  document.title = 'Staging: ' + ready + ' of ' + clients.length + ' ready';
  byId('rate').textContent = rate(status.down_rate);
  byId('uptime').textContent = duration(status.seconds);
  const limit = status.limit;
  byId('limit').textContent = limit ? limit.ratio.toFixed(2) : none;
  byId('limit-words').textContent = limit ?
    'times as long as the links need (' + rate(limit.rate) + ' each, ' +
    (limit.rate_given ? 'given)' : 'the best seen)') :
    'times as long as the links need: nobody has staged yet';
}

async function poll() {
  try {
    const answer = await fetch('status.json', { cache: 'no-store', signal: AbortSignal.timeout(5000) });
    if (!answer.ok) throw new Error('status ' + answer.status);
    status = await answer.json();
    show();
    byId('state').textContent = 'live';
    document.body.classList.remove('stale');
  } catch (e) {
    byId('state').textContent = 'the server does not answer; this is what it said last';
    document.body.classList.add('stale');
  }
  setTimeout(poll, 1000);
}

for (const button of document.querySelectorAll('th button')) {
  button.disabled = false;
  button.addEventListener('click', () => {
    const key = button.dataset.key;
    order = { key, down: order.key === key && !order.down };
    for (const other of document.querySelectorAll('th[aria-sort]')) other.removeAttribute('aria-sort');
    button.parentElement.setAttribute('aria-sort', order.down ? 'descending' : 'ascending');
    if (status) show();
  });
}
poll();
