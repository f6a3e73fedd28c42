// The front end of the explorer: three small views (question, gallery, line) that show what Python knows and tell it
// what was done. Names of files are text here and never markup.

const ICONS = {
  like: 'M12 20.5 4.2 12.9a5 5 0 0 1 7-7.1l.8.8.8-.8a5 5 0 0 1 7 7.1z',
  dislike: 'M12 20.5 4.2 12.9a5 5 0 0 1 7-7.1l.8.8.8-.8a5 5 0 0 1 7 7.1zM4 3l16 18',
  more: 'M12 5v14M5 12h14',
  less: 'M5 12h14',
  pick: 'M5 12.5l4.5 4.5L19 7',
  crop: 'M6 2v16h16M2 6h16v16',
  turn: 'M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zM5.6 5.6l12.8 12.8',
  remove: 'M6 6l12 12M18 6L6 18',
  previous: 'M15 5l-7 7 7 7',
  next: 'M9 5l7 7-7 7',
};

function icon(name) {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('aria-hidden', 'true');
  const path = document.createElementNS('http://www.w3.org/2000/svg', 'path');
  path.setAttribute('d', ICONS[name]);
  svg.append(path);
  return svg;
}

function h(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(props)) {
    if (key.startsWith('on')) node.addEventListener(key.slice(2), value);
    else if (key in node && key !== 'list') node[key] = value;
    else node.setAttribute(key, value);
  }
  node.append(...children.filter(c => c !== null && c !== undefined));
  return node;
}

const button = (name, label, onclick, props = {}) =>
  h('button', { type: 'button', className: 'ir-icon', title: label, 'aria-label': label, 'data-do': name, onclick, ...props }, icon(name));

// Without this, keys pressed here would be commands of the notebook: `dd` deletes a cell.
function shield(root, model) {
  root.setAttribute('data-lm-suppress-shortcuts', 'true');
  root.addEventListener('keydown', event => {
    const typing = event.target.matches('input, textarea');
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === 'z' && !typing) {
      model.send({ type: event.shiftKey ? 'redo' : 'undo' });
      event.preventDefault();
    }
    event.stopPropagation();
  });
}

const CHUNK = 1 << 20; // bytes; a server closes the connection at messages of more than 10 MB

async function sendFiles(model, files) {
  for (const file of files) {
    const data = await file.arrayBuffer();
    const parts = Math.max(1, Math.ceil(data.byteLength / CHUNK));
    for (let part = 0; part < parts; part++)
      model.send({ type: 'file', name: file.name || 'pasted.png', part, parts }, undefined, [data.slice(part * CHUNK, (part + 1) * CHUNK)]);
  }
}

function take(model, transfer) {
  const files = [...transfer.files];
  if (files.length) return sendFiles(model, files), true;
  const text = (transfer.getData('text/uri-list') || transfer.getData('text/plain')).split('\n').map(t => t.trim()).filter(t => t && !t.startsWith('#'))[0];
  if (text) model.send({ type: 'address', address: text });
  return Boolean(text);
}

function acceptDrops(node, model) {
  node.addEventListener('dragover', event => { event.preventDefault(); node.classList.add('ir-over'); });
  node.addEventListener('dragleave', event => { if (!node.contains(event.relatedTarget)) node.classList.remove('ir-over'); });
  node.addEventListener('drop', event => {
    event.preventDefault();
    event.stopPropagation();
    node.classList.remove('ir-over');
    take(model, event.dataTransfer);
  });
}

// The question: what was dropped, pasted, browsed or clicked

function renderQuestion({ model, el }) {
  const picker = h('input', { type: 'file', accept: 'image/*,.heic,.heif,.avif', multiple: true, hidden: true, onchange: () => {
    sendFiles(model, [...picker.files]);
    picker.value = '';
  } });
  const browse = h('button', { type: 'button', className: 'ir-button', onclick: () => picker.click() }, 'Browse…');
  const hint = h('span', { className: 'ir-hint' }, 'or drop or paste pictures here');
  const parts = h('ul', { className: 'ir-parts', 'aria-label': 'The question' });
  const root = h('section', { className: 'ir-root ir-question', tabIndex: 0, 'aria-label': 'Question: drop, paste or browse pictures' }, parts, h('div', { className: 'ir-ask' }, browse, hint, picker));
  root.addEventListener('paste', event => { if (!event.target.matches('input, textarea') && take(model, event.clipboardData)) event.preventDefault(); });
  acceptDrops(root, model);
  shield(root, model);

  function show() {
    parts.replaceChildren(...model.get('parts').map((part, i) => {
      const act = what => () => model.send({ type: what, part: i });
      const words = part.wanted ? 'like' : 'not like';
      const picture = part.kind === 'text' ? h('span', { className: 'ir-words' }, `“${part.label}”`)
        : part.kind === 'color' ? h('span', { className: 'ir-swatch', style: `background:${part.label}` })
        : h('img', { src: part.thumb, alt: '' });
      return h('li', { className: part.wanted ? 'ir-part' : 'ir-part ir-avoided', title: `${words} ${part.label}` },
        part.thumb ? h('button', { type: 'button', className: 'ir-frame', title: 'Mark a region', 'aria-label': `${words} ${part.label}: mark a region`, onclick: act('open-part') }, picture)
                   : h('span', { className: 'ir-frame' }, picture),
        h('span', { className: 'ir-name' }, h('i', {}, words + ' '), part.label),
        h('span', { className: 'ir-tools' },
          part.thumb ? button('crop', `Mark a region of ${part.label}`, act('open-part')) : null,
          button('turn', part.wanted ? `Avoid ${part.label}` : `Want ${part.label}`, act('turn'), { 'aria-pressed': String(!part.wanted) }),
          button('remove', `Take ${part.label} out of the question`, act('remove'))));
    }));
    hint.textContent = model.get('parts').length ? 'or drop or paste more' : 'or drop or paste pictures here';
  }
  model.on('change:parts', show);
  show();
  el.append(root);
  return () => model.off('change:parts', show);
}

// The gallery: only what is in sight exists, and asks Python for its page and its thumbnails

const TILE = 164, GAP = 14, HEIGHT = 244, PAGE = 60, FEW = 8, KEPT = 2000;
const ACTS = [['like', 'Like'], ['dislike', 'Dislike'], ['more', 'More like this'], ['less', 'Less like this'], ['pick', 'Pick']];

function renderGallery({ model, el }) {
  let version = -1, total = 0, asked = false, columns = 1, current = 0, frame = 0, settling = 0, goal = null;
  const items = new Map(), pages = new Set(), tiles = new Map(), thumbs = new Map(), waiting = new Set();
  let queue = [], underway = 0;

  const message = h('p', { className: 'ir-message', role: 'status' });
  const alert = h('p', { className: 'ir-alert', role: 'alert' });
  const legend = h('p', { className: 'ir-legend' });
  const list = h('div', { className: 'ir-list', role: 'list', 'aria-label': 'Images' });
  const scroller = h('div', { className: 'ir-scroll' }, list);
  const root = h('section', { className: 'ir-root ir-gallery', 'aria-label': 'Answer' }, alert, h('div', { className: 'ir-head' }, message, legend), scroller);
  const details = makeDetails(model);
  root.append(details.dialog);
  shield(root, model);
  acceptDrops(root, model);

  const marked = (what, id) => model.get({ like: 'likes', dislike: 'dislikes', pick: 'picked' }[what])?.includes(id);

  function thumb(id, img) {
    if (thumbs.has(id)) {
      const url = thumbs.get(id);
      thumbs.delete(id);
      thumbs.set(id, url); // used last
      img.src = url;
    } else if (!waiting.has(id)) {
      waiting.add(id);
      queue.push(id);
    }
  }

  function pump() { // a few at a time, what is in sight first, so that sliders do not wait for pictures
    queue = queue.filter(id => tiles.has(id) || (waiting.delete(id), false));
    if (underway || !queue.length) return;
    const ids = queue.splice(0, FEW);
    underway = ids.length;
    model.send({ type: 'thumbs', ids });
  }

  function makeTile(item) {
    const img = h('img', { alt: '', draggable: false });
    const picture = h('button', { type: 'button', className: 'ir-picture', 'data-do': 'open', onclick: () => act('open', item.id) }, img);
    const tools = h('span', { className: 'ir-tools' }, ...ACTS.map(([what, label]) => button(what, `${label}: ${item.name}`, () => act(what, item.id))));
    const node = h('div', { className: 'ir-tile', role: 'listitem', 'data-id': item.id }, picture, h('div', { className: 'ir-bar', 'aria-hidden': 'true' }), h('div', { className: 'ir-caption' }), tools);
    node.addEventListener('focusin', () => { current = node.index; rove(); });
    return node;
  }

  function fillTile(node, item, index) {
    const [picture, bar, caption, tools] = node.children;
    node.index = index;
    node.setAttribute('aria-posinset', index + 1);
    node.setAttribute('aria-setsize', total);
    const scored = item.score !== undefined;
    const said = scored ? `${item.rank}. ${item.name}, score ${item.score.toFixed(2)}${item.rare ? ', ' + item.rare : ''}` : item.name;
    picture.setAttribute('aria-label', asked ? `${said}: details` : `${said}: find similar`);
    picture.title = scored ? `${said}\n${Object.entries(item.gains).map(([n, v]) => `${n} ${v.toFixed(3)}`).join(', ')}` : said;
    bar.hidden = !scored;
    if (scored) {
      const colors = model.get('colors');
      bar.replaceChildren(...Object.entries(item.gains).map(([n, v]) => h('span', { style: `width:${100 * v}%;background:${colors[n]}` })));
      const loss = Object.values(item.losses).reduce((a, b) => a + b, 0);
      if (loss) bar.append(h('span', { className: 'ir-loss', style: `left:${100 * Math.max(item.score, 0)}%;width:${100 * Math.min(loss, loss + item.score)}%` }));
      caption.replaceChildren(h('span', { className: 'ir-rank' }, `${item.rank}. `), item.name, h('br'), h('b', {}, item.score.toFixed(3)), ` ${item.rare}`,
        ...(item.copies ? [h('span', { className: 'ir-copies', title: 'near-copies in this place' }, `+${item.copies} cop${item.copies > 1 ? 'ies' : 'y'}`)] : []));
    } else caption.replaceChildren(item.name);
    thumb(item.id, picture.firstChild);
    mark(node, item.id);
  }

  function mark(node, id) {
    for (const b of node.querySelectorAll('[data-do]')) {
      const on = marked(b.dataset.do, id);
      if (on !== undefined) b.setAttribute('aria-pressed', String(on));
    }
    node.classList.toggle('ir-picked', marked('pick', id));
  }

  function rove() { // Tab goes to one tile and on; arrows go between tiles
    for (const node of tiles.values()) for (const b of node.querySelectorAll('button')) b.tabIndex = node.index === current ? 0 : -1;
  }

  function layout() {
    frame = 0;
    const width = list.clientWidth;
    if (!width) return;
    columns = Math.max(1, Math.floor((width + GAP) / (TILE + GAP)));
    const step = (width + GAP) / columns, rows = Math.ceil(total / columns);
    list.style.height = `${rows * HEIGHT}px`;
    scroller.style.height = `${Math.min(Math.max(rows, 1) * HEIGHT, 2.6 * HEIGHT)}px`;
    const top = Math.max(0, Math.floor(scroller.scrollTop / HEIGHT) - 1), bottom = Math.ceil((scroller.scrollTop + scroller.clientHeight) / HEIGHT) + 1;
    const first = top * columns, last = Math.min(total, bottom * columns);
    for (let page = Math.floor(first / PAGE); page * PAGE < last; page++) if (!pages.has(page)) {
      pages.add(page);
      model.send({ type: 'page', start: page * PAGE, stop: (page + 1) * PAGE });
    }
    const focused = list.contains(document.activeElement);
    const present = new Set();
    for (let i = first; i < last; i++) {
      const item = items.get(i);
      if (!item) continue;
      present.add(item.id);
      let node = tiles.get(item.id);
      const fresh = !node;
      if (fresh) tiles.set(item.id, node = makeTile(item));
      node.style.width = `${step - GAP}px`;
      node.style.transform = `translate(${(i % columns) * step}px, ${Math.floor(i / columns) * HEIGHT}px)`;
      fillTile(node, item, i);
      if (fresh) list.append(node);
    }
    for (const [id, node] of tiles) if (!present.has(id)) { node.remove(); tiles.delete(id); }
    if (current >= total) current = 0;
    rove();
    if (focused && !list.contains(document.activeElement)) goal ??= current;
    for (const node of goal === null ? [] : tiles.values()) if (node.index === goal) { // it may have to be fetched first
      goal = null;
      node.firstChild.focus({ preventScroll: true });
    }
    clearTimeout(settling);
    settling = setTimeout(settle, 400);
    pump();
  }

  function settle() { // readers of the page meet images in order of rank; moving a node at once would stop its glide
    const active = document.activeElement;
    const order = [...tiles.values()].sort((a, b) => a.index - b.index);
    order.forEach((node, i) => { if (list.children[i] !== node) list.insertBefore(node, list.children[i]); });
    if (active !== document.activeElement && list.contains(active)) active.focus({ preventScroll: true });
  }
  const draw = () => { frame ||= requestAnimationFrame(layout); };

  function focus(index) {
    current = Math.max(0, Math.min(total - 1, index));
    const row = Math.floor(current / columns);
    if (row * HEIGHT < scroller.scrollTop) scroller.scrollTop = row * HEIGHT;
    else if ((row + 1) * HEIGHT > scroller.scrollTop + scroller.clientHeight) scroller.scrollTop = (row + 1) * HEIGHT - scroller.clientHeight;
    goal = current;
    layout();
  }

  list.addEventListener('keydown', event => {
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns, Home: -current, End: total }[event.key];
    if (!step && step !== 0) return;
    event.preventDefault();
    focus(current + step);
  });

  function act(what, id) { model.send({ type: what, id }); }

  function receive(content, buffers) {
    if (content.type === 'answer' || content.type === 'page') {
      if (content.version < version) return;
      if (content.version > version) {
        version = content.version;
        items.clear();
        pages.clear();
        if (content.reset) scroller.scrollTop = current = 0;
      }
      ({ total, asked } = content);
      content.items.forEach((item, i) => items.set(content.start + i, item));
      pages.add(content.start / PAGE);
      legend.hidden = !asked || !total;
      draw();
    } else if (content.type === 'thumbs') {
      underway = 0;
      content.ids.forEach((id, i) => {
        waiting.delete(id);
        thumbs.set(id, URL.createObjectURL(new Blob([buffers[i]], { type: 'image/jpeg' })));
        const node = tiles.get(id);
        if (node) node.firstChild.firstChild.src = thumbs.get(id);
      });
      for (const [id, url] of thumbs) {
        if (thumbs.size <= KEPT) break;
        if (!tiles.has(id)) { URL.revokeObjectURL(url); thumbs.delete(id); }
      }
      pump();
    } else if (content.type === 'details') details.show(content, buffers[0]);
  }

  function words() {
    message.textContent = model.get('busy') || model.get('message');
    message.classList.toggle('ir-busy', Boolean(model.get('busy')));
    alert.textContent = model.get('alert');
    alert.hidden = !model.get('alert');
    legend.replaceChildren(...Object.entries(model.get('colors')).flatMap(([n, c]) => [h('span', { className: 'ir-key', style: `background:${c}` }), n + ' ']));
  }
  const marks = () => { for (const [id, node] of tiles) mark(node, id); details.mark(); };

  scroller.addEventListener('scroll', draw);
  const watcher = new ResizeObserver(draw);
  watcher.observe(scroller);
  model.on('msg:custom', receive);
  for (const name of ['message', 'alert', 'busy', 'colors']) model.on(`change:${name}`, words);
  for (const name of ['likes', 'dislikes', 'picked']) model.on(`change:${name}`, marks);
  const hidden = h('style');
  const hideStill = () => { hidden.textContent = model.get('still') ? `#${CSS.escape(model.get('still'))} { display: none; }` : ''; };
  model.on('change:still', hideStill);
  hideStill();
  document.head.append(hidden);
  words();
  el.append(root);
  model.send({ type: 'hello' });
  return () => {
    watcher.disconnect();
    clearTimeout(settling);
    hidden.remove();
    model.off('msg:custom', receive);
    for (const url of thumbs.values()) URL.revokeObjectURL(url);
    details.dialog.remove();
  };
}

// Details: the full picture, why it was found, and a region to be marked

function makeDetails(model) {
  let shown = null, box = null, from = null, url = '';
  const img = h('img', { alt: '', draggable: false });
  const frame = h('div', { className: 'ir-box', hidden: true });
  const surface = h('div', { className: 'ir-surface', tabIndex: 0, role: 'application', 'aria-label': 'Picture. Drag to mark a region; or press arrow keys to move one, with Shift to resize it' }, img, frame);
  const title = h('h3', {}), facts = h('p', { className: 'ir-facts' }), why = h('div', { className: 'ir-why' }), tools = h('div', { className: 'ir-acts' });
  const region = h('button', { type: 'button', className: 'ir-button', disabled: true, onclick: () => tell('region') }, 'Search with this region');
  const close = button('remove', 'Close', () => dialog.close());
  const walk = step => () => model.send({ type: 'walk', id: shown.id, step });
  const previous = button('previous', 'Previous image', walk(-1)), next = button('next', 'Next image', walk(1));
  const dialog = h('dialog', { className: 'ir-root ir-details' },
    h('header', {}, title, previous, next, close),
    h('div', { className: 'ir-body' }, h('div', { className: 'ir-left' }, surface, h('p', { className: 'ir-hint' }, 'Drag over the picture to mark a region.'), tools), h('div', { className: 'ir-right' }, facts, why)));
  dialog.addEventListener('click', event => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener('keydown', event => {
    if (event.target === surface || shown?.part !== undefined) return;
    if (event.key === 'ArrowLeft') previous.click();
    if (event.key === 'ArrowRight') next.click();
  });

  function tell(what) {
    if (what === 'region') model.send({ type: 'region', id: shown.id, part: shown.part, box });
    else model.send({ type: what, id: shown.id });
    if (['region', 'search', 'more', 'less'].includes(what)) dialog.close();
  }

  function setBox(value) {
    box = value;
    frame.hidden = !box;
    region.disabled = !box;
    if (box) Object.assign(frame.style, { left: `${100 * box[0]}%`, top: `${100 * box[1]}%`, width: `${100 * (box[2] - box[0])}%`, height: `${100 * (box[3] - box[1])}%` });
  }

  const clamp = v => Math.max(0, Math.min(1, v));
  const place = event => {
    const r = img.getBoundingClientRect();
    return [clamp((event.clientX - r.left) / r.width), clamp((event.clientY - r.top) / r.height)];
  };
  surface.addEventListener('pointerdown', event => { from = place(event); surface.setPointerCapture(event.pointerId); event.preventDefault(); surface.focus(); });
  surface.addEventListener('pointermove', event => {
    if (!from) return;
    const [x, y] = place(event);
    const found = [Math.min(x, from[0]), Math.min(y, from[1]), Math.max(x, from[0]), Math.max(y, from[1])];
    setBox(found[2] - found[0] > .02 && found[3] - found[1] > .02 ? found : null);
  });
  surface.addEventListener('pointerup', () => { from = null; });
  surface.addEventListener('keydown', event => {
    const [dx, dy] = { ArrowLeft: [-.05, 0], ArrowRight: [.05, 0], ArrowUp: [0, -.05], ArrowDown: [0, .05] }[event.key] || [];
    if (dx === undefined) return;
    event.preventDefault();
    const [l, t, r, b] = box || [.25, .25, .75, .75];
    if (event.shiftKey) setBox([l, t, Math.max(l + .05, clamp(r + dx)), Math.max(t + .05, clamp(b + dy))]);
    else {
      const x = Math.max(-l, Math.min(1 - r, dx)), y = Math.max(-t, Math.min(1 - b, dy));
      setBox(box ? [l + x, t + y, r + x, b + y] : [l, t, r, b]);
    }
  });

  function mark() {
    if (!shown) return;
    for (const b of tools.querySelectorAll('[data-do]')) {
      const names = { like: 'likes', dislike: 'dislikes', pick: 'picked' }[b.dataset.do];
      if (names) b.setAttribute('aria-pressed', String(model.get(names).includes(shown.id)));
    }
  }

  function show(content, buffer) {
    shown = content;
    if (url) URL.revokeObjectURL(url);
    img.src = url = URL.createObjectURL(new Blob([buffer], { type: 'image/jpeg' }));
    img.alt = content.name;
    title.textContent = content.title;
    dialog.setAttribute('aria-label', content.title);
    facts.textContent = content.facts;
    why.innerHTML = content.why; // made by Python, every name in it escaped
    setBox(content.box || null);
    const image = content.part === undefined;
    previous.hidden = next.hidden = !image;
    previous.disabled = !content.previous;
    next.disabled = !content.next;
    tools.replaceChildren(region, ...(image ? [
      h('button', { type: 'button', className: 'ir-button', onclick: () => tell('search') }, 'Search with this'),
      ...ACTS.map(([what, label]) => h('button', { type: 'button', className: 'ir-button ir-act', 'data-do': what, onclick: () => tell(what) }, icon(what), label))] : content.box ? [
      h('button', { type: 'button', className: 'ir-button', onclick: () => { box = null; tell('region'); } }, 'Use the whole picture')] : []));
    mark();
    if (!dialog.open) dialog.showModal();
  }
  return { dialog, show, mark };
}

// The line of Python

function renderLine({ model, el }) {
  const code = h('code', {});
  const copy = h('button', { type: 'button', className: 'ir-button', onclick: async () => {
    try { await navigator.clipboard.writeText(model.get('line')); }
    catch {
      const range = document.createRange();
      range.selectNodeContents(code);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      document.execCommand('copy');
    }
    copy.textContent = 'Copied';
    setTimeout(() => { copy.textContent = 'Copy'; }, 1500);
  } }, 'Copy');
  const root = h('section', { className: 'ir-root ir-line', 'aria-label': 'The same in Python' }, h('pre', { tabIndex: 0 }, code), copy);
  const show = () => { code.textContent = model.get('line'); };
  shield(root, model);
  model.on('change:line', show);
  show();
  el.append(root);
  return () => model.off('change:line', show);
}

const VIEWS = { question: renderQuestion, gallery: renderGallery, line: renderLine };
export default { render: context => VIEWS[context.model.get('kind')](context) };
