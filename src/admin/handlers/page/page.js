// Reads the API every two seconds and shows it. Whatever comes from the network
// becomes text, never an element.

const $ = (selector, inside = document) => inside.querySelector(selector);
const all = (selector, inside) => [...inside.querySelectorAll(selector)];
const make = (name, textContent, more) => Object.assign(document.createElement(name), { textContent }, more);
// Leaves alone what is as it should be: a selection in it stays.
const put = (node, text) => { if (node.textContent !== text) node.textContent = text; };
const now = () => performance.now() / 1000;

const count = number => number.toLocaleString('en');

function bytes(number) {
	let unit = 0;
	for (; number >= 999.5; unit++) number /= 1000;
	return (unit && number < 99.95 ? number.toFixed(1) : Math.round(number)) + ' ' + ['B', 'kB', 'MB', 'GB', 'TB', 'PB'][unit];
}

function time(seconds) {
	const s = Math.floor(seconds), m = Math.floor(s / 60), h = Math.floor(m / 60), d = Math.floor(h / 24);
	return d ? `${d}d ${h % 24}h` : h ? `${h}h ${m % 60}m` : m ? `${m}m ${s % 60}s` : s + 's';
}

const place = (address, port) => port ? (address.includes(':') ? `[${address}]` : address) + ':' + port : address;

// Throws a text where the server refuses, and an error where it does not answer.
async function api(target, options) {
	const response = await fetch(location.origin + target, { cache: 'no-store', signal: AbortSignal.timeout(10000), ...options });
	if (response.ok) return response.json();
	const error = await response.json().catch(() => null);
	throw error?.errors?.[0].detail ?? response.statusText;
}

// A column: its heading, where it is in a resource, how its numbers look, and
// more: `show`, `also` (other members that it needs), `view` (of the sessions
// that has it), `sorts` and `filters`.
const state = ['State', 'state'];
const address = ['Address', 'parameters/address', , {
	also: 'parameters/port,parameters/socket',
	show: ({ parameters: p }) => p.socket ?? place(p.address, p.port),
}];
const traffic = [
	['Sessions', 'statistics/connections', count],
	['Ever', 'statistics/total_connections', count],
	['Received', 'statistics/bytes_from_clients', bytes],
	['Sent', 'statistics/bytes_to_clients', bytes],
];
const TABLES = {
	Services: [['Service', 'id'], state, ...traffic, ['Servers', 'parameters/servers']],
	Servers: [['Server', 'id'], state, address, ...traffic, ['Version', 'version_string']],
	Sessions: [
		['ID', 'id', String],
		['User', 'user'],
		['Client', 'remote', , { also: 'port', show: a => place(a.remote, a.port) }],
		['Service', '/relationships/services/data/0/id', , { also: 'services/data', sorts: false }],
		['Server', 'connections/0/server'],
		['Database', 'database'],
		['State', 'state', , { view: 'open', also: 'connected', filters: false, show: a => a.state.replace(/Session | for routing| session/g, '') }],
		['Reason', 'close_reason', , { view: 'closed' }],
		['Ended (UTC)', 'closed', , { view: 'closed', filters: false }],
		['Idle', 'idle', time, { view: 'open' }],
		['Age', 'seconds_alive', time],
		['Received', 'bytes_from_client', bytes],
		['Sent', 'bytes_to_client', bytes],
	],
	Listeners: [['Listener', 'id'], state, ['Service', 'parameters/service'], ['Protocol', 'parameters/protocol'], address],
};

let mayKill = false;

function table([title, definitions]) {
	const type = title.toLowerCase(), isSessions = type === 'sessions';
	const section = $('template').content.cloneNode(true).firstElementChild;
	const [heading, form, note, scroll, head, body, nav] = ['h2', 'form', 'p', '.scroll', 'thead tr', 'tbody', 'nav'].map(selector => $(selector, section));
	const [by, input] = form.elements, [views, , sizes] = all('select', section), buttons = all('button', nav);
	const total = make('span');
	let rows = new Map(), columns, kills, turn = 0, page = 0, last = 0, view = 'open', sort = isSessions ? 'id' : '';

	section.id = type;
	section.ariaLabel = scroll.ariaLabel = title;
	heading.append(title + ' ', total);
	nav.ariaLabel = `Pages of ${type}`;
	form.ariaLabel = input.ariaLabel = `Filter ${type}`;
	by.ariaLabel = form.ariaLabel + ' by';
	views.parentNode.hidden = !isSessions;

	// What the view shows, and what can be done with it.
	function draw() {
		columns = definitions.map(([label, at, kind, more]) => ({ label, at, kind, ...more }))
			.filter(column => !column.view || view === 'any' || view === column.view);
		kills = isSessions && mayKill && view !== 'closed';
		head.replaceChildren(...columns.map(column => {
			const cell = column.cell = make('th', '', { className: column.kind?.name ?? '' });
			cell.append(column.sorts === false ? column.label : make('button', column.label, {
				onclick() {
					const down = column.kind ? sort !== '-' + column.at : sort === column.at;
					sort = (down ? '-' : '') + column.at;
					mark();
					go(0);
				},
			}));
			return cell;
		}));
		if (kills) head.insertCell();
		const chosen = by.value || 'user';
		by.replaceChildren(...columns.filter(column => column.filters !== false).map(({ label, at }) => make('option', label, { value: at, selected: at === chosen })));
		hint();
		mark();
		body.replaceChildren();
		rows = new Map();
	}

	function mark() {
		for (const { at, cell } of columns) cell.ariaSort = sort === at ? 'ascending' : sort === '-' + at ? 'descending' : null;
	}

	const filtered = () => columns.find(column => column.at === by.value);
	const hint = () => { input.placeholder = filtered().kind ? 'at least; <5 =5 !5' : 'begins with; =is !not'; };

	// What was typed, as the API has it.
	function condition() {
		const [, sign, text] = /^\s*([=!<>]?)\s*(.*?)\s*$/.exec(input.value), { at, kind } = filtered();
		if (!text) return;
		const pointer = at[0] === '/' ? at : at === 'id' ? '/id' : '/attributes/' + at;
		if (kind && !/^\d+(\.\d+)?$/.test(text)) throw `${text} is not a number.`;
		const value = kind ? text : JSON.stringify(text), after = JSON.stringify(text + '\u{10ffff}');
		return `${pointer}=` + (sign || kind ? `${{ '=': 'eq', '!': 'ne', '<': 'le' }[sign] ?? 'ge'}(${value})` : `and(ge(${value}),lt(${after}))`);
	}

	function target() {
		const query = new URLSearchParams({ 'page[size]': sizes.value, 'page[number]': page });
		query.set(`fields[${type}]`, columns.flatMap(column => [column.also, column.at]).filter(at => at && !/^\/|^id$/.test(at)));
		if (sort) query.set('sort', sort);
		// Listeners have sessions of their own; they have a table, too.
		if (isSessions) query.append('filter', '/attributes/idle=ge(0)'), query.set('state', view);
		const filter = condition();
		if (filter) query.append('filter', filter);
		return `/v1/${type}?${query}`;
	}

	async function read() {
		const mine = ++turn;
		let words = '';
		try {
			const { data, meta } = await api(target());
			if (mine !== turn) return;
			last = Math.max(0, Math.ceil(meta.total / sizes.value) - 1);
			if (page > last) return go(last);
			show(data, meta.total);
			if (!data.length) words = input.value ? 'Nothing passes the filter.' : `There are no ${type}.`;
		} catch (error) {
			if (error.message) throw error;
			words = error;
		}
		if (mine === turn) put(note, words);
	}

	const load = () => read().catch(lose);
	const go = to => { page = to; return load(); };

	// After the reader has asked for other rows.
	async function again() {
		await go(0);
		say(note.textContent || heading.textContent);
	}

	function show(data, sum) {
		const next = new Map(data.map(item => [item.id, fill(rows.get(item.id) ?? add(), item)]));
		// Who stands on a row that goes, stands on the one below it then.
		const active = document.activeElement, row = body.contains(active) && active.closest('tr');
		const stays = row => next.get(row.item.id) === row;
		let below = row;
		while (below && !stays(below)) below = below.nextSibling;
		for (const row of rows.values()) if (!stays(row)) row.remove();
		let at = body.firstChild;
		for (const row of next.values()) {
			if (row === at) at = at.nextSibling;
			else if (row.isConnected && body.moveBefore) body.moveBefore(row, at);
			else body.insertBefore(row, at);
		}
		rows = next;
		if (row && document.activeElement !== active) ($('button', below ?? body) ?? scroll).focus({ preventScroll: true });
		put(total, count(sum));
		const from = page * sizes.value;
		put($('span', nav), `${count(from + Math.sign(data.length))}–${count(from + data.length)} of ${count(sum)}`);
		nav.hidden = sum <= 25;
		buttons.forEach((button, index) => { button.disabled = index < 2 ? !page : page === last; });
		scroll.tabIndex = scroll.scrollWidth > scroll.clientWidth ? 0 : -1;
	}

	function add() {
		const row = make('tr');
		columns.forEach(({ kind }, index) => row.append(make(index ? 'td' : 'th', '', { className: kind?.name ?? '' })));
		if (kills) row.insertCell().append(make('button', 'Kill', { onclick: () => ask(row.item) }));
		return row;
	}

	function fill(row, item) {
		row.item = item;
		const attributes = item.attributes ?? {};
		columns.forEach(({ at, kind, show }, index) => {
			const from = at === 'id' || at[0] === '/' ? item : attributes;
			const value = at.split('/').reduce((inside, name) => name ? inside?.[name] : inside, from);
			const text = value === undefined ? '' : (show?.(attributes) ?? (kind ? kind(value) : value)), cell = row.cells[index];
			if (cell.textContent === text) return;
			cell.textContent = cell.title = text;
			if (at === 'state') cell.className = /^\w+/.exec(text)[0].toLowerCase();
		});
		const button = kills && row.lastChild.firstChild;
		if (button) button.hidden = !!attributes.close_reason, button.ariaLabel = `Kill session ${item.id}`;
		return row;
	}

	let typing;
	input.oninput = () => { clearTimeout(typing); typing = setTimeout(again, 250); };
	form.onsubmit = event => event.preventDefault();
	by.onchange = () => { hint(); if (input.value) again(); };
	sizes.onchange = () => go(0);
	views.onchange = () => {
		view = views.value;
		sort = { open: 'id', closed: '-closed', any: '-id' }[view];
		draw();
		again();
	};
	[() => 0, () => page - 1, () => page + 1, () => last].forEach((to, index) => { buttons[index].onclick = () => go(to()); });
	draw();
	$('main').append(section);
	return { draw, read, load };
}

// Says what has been done, to everybody, for a while.
let silence;
function say(text) {
	put($('#said'), text);
	clearTimeout(silence);
	silence = setTimeout(say, 6000, '');
}

const dialog = $('dialog');
let asked;

function ask(item) {
	asked = item;
	const { user, remote, port, connections, seconds_alive: age } = item.attributes, server = connections?.[0]?.server;
	put($('#question'), `Kill session ${item.id}?`);
	put($('#about'), `${user ?? 'A client'}${remote ? ` from ${place(remote, port)}` : ''}, for ${time(age)} on ${item.relationships.services.data[0].id}${server ? ` with ${server}` : ''}. Its connections are closed at once.`);
	dialog.showModal();
}

$('#keep').onclick = () => dialog.close();
$('#kill').onclick = async () => {
	dialog.close();
	const { id, attributes: { connected } } = asked;
	// After a restart the number is somebody else's.
	const query = new URLSearchParams([['filter', `/id="${id}"`], ['filter', `/attributes/connected="${connected}"`]]);
	try {
		const { meta } = await api('/v1/sessions?' + query, { method: 'DELETE' });
		say(`Session ${id} ${meta.killed ? 'is killed' : 'had ended already'}.`);
	} catch (error) {
		say(`Session ${id} is not killed: ${error.message ?? error}`);
	}
	for (const table of tables) table.load();
};

// The charts: a sample a turn, and a gap where there was no answer.
const samples = [];
let former;

function sample(services) {
	const sum = name => services.reduce((sum, { attributes }) => sum + attributes.statistics[name], 0);
	const one = { at: now(), sessions: sum('connections'), in: sum('bytes_from_clients'), out: sum('bytes_to_clients') };
	// Less than nothing after a restart, and then not drawn.
	const rate = name => (one[name] - former?.[name]) / (one.at - former?.at);
	samples.push({ ...one, received: rate('in'), sent: rate('out') });
	former = one;
}

function plot(figure, names, words, least) {
	const known = name => samples.map(one => one[name]).filter(value => value >= 0);
	const most = Math.max(least, ...names.flatMap(known)), power = 10 ** Math.floor(Math.log10(most));
	const top = [1, 2, 5, 10].map(step => step * power).find(step => step >= most);
	const start = now() - 600, svg = $('svg', figure);
	svg.ariaLabel = 'The last ten minutes: ' + names.map((name, index) => {
		let line = '', pen = 'M';
		for (const one of samples) {
			if (one[name] >= 0) line += `${pen}${(one.at - start).toFixed(1)} ${(99 - 98 * one[name] / top).toFixed(1)}`;
			pen = one[name] >= 0 ? 'L' : 'M';
		}
		svg.children[index].setAttribute('d', line);
		const latest = words(samples.at(-1)?.[name]);
		put(all('b', figure)[index], latest);
		return `${name} now ${latest}, lowest ${words(Math.min(...known(name)))}, highest ${words(Math.max(...known(name)))}`;
	}).join('; ');
	put($('div span', figure), words(top).replace('.0', ''));
}

function plots() {
	while (samples[0]?.at < now() - 600) samples.shift();
	const or = words => number => number >= 0 && number < Infinity ? words(number) : '–';
	plot($('#count'), ['sessions'], or(count), 5);
	plot($('#rate'), ['received', 'sent'], or(number => bytes(number) + '/s'), 100);
}

const pause = $('#pause');
let lost, timer, heard = new Date();

function tell() {
	const paused = pause.ariaPressed === 'true';
	put($('#state'), lost ? 'No answer' : paused ? 'Paused' : 'Live');
	$('#state').className = lost ? 'lost' : paused || 'live';
}

function lose(error) {
	if (!lost) samples.push({ at: now() });
	lost ??= heard.toLocaleTimeString('en-GB');
	put($('#alarm'), error.message ? `The server has not answered since ${lost}. What is shown is from then.` : `The server refuses: ${error}`);
	tell();
}

async function turn() {
	clearTimeout(timer);
	const begun = now(), rests = document.hidden || pause.ariaPressed === 'true';
	try {
		const { meta } = await api('/v1');
		sample((await api('/v1/services?fields[services]=statistics')).data);
		if (mayKill !== (meta.role === 'admin')) {
			mayKill = !mayKill;
			for (const table of tables) table.draw();
		}
		if (!rests) {
			for (const table of tables) await table.read();
			put($('#facts'), `${meta.version} on ${location.host}, up ${time(meta.uptime)}, ${mayKill ? 'administrator' : 'read only'}`);
		}
		if (lost) say('The server answers again.');
		lost = undefined;
		heard = new Date();
		put($('#alarm'), '');
		tell();
	} catch (error) {
		lose(error);
	}
	if (!rests) plots();
	timer = setTimeout(turn, Math.max(500, 2000 - 1000 * (now() - begun)));
}

pause.onclick = () => {
	pause.ariaPressed = pause.ariaPressed === 'false';
	tell();
	turn();
};
document.onvisibilitychange = turn;
document.title = `sessiond on ${location.host}`;
const tables = Object.entries(TABLES).map(table);
turn();
