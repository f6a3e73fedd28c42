// The panel under the map: what is selected, and a search with it. All content comes in messages from Python (class LiveMap).

function element(tag, className, text) {
  const e = document.createElement(tag);
  if (className) e.className = className;
  if (text !== undefined) e.textContent = text;
  return e;
}

function isDark(el) {
  for (let e = el; e; e = e.parentElement) {
    const [r, g, b, a = 1] = (getComputedStyle(e).backgroundColor.match(/[\d.]+/g) || [0, 0, 0, 0]).map(Number);
    if (a > 0) return 0.299*r + 0.587*g + 0.114*b < 128;
  }
  return matchMedia('(prefers-color-scheme: dark)').matches;
}

function render({ model, el }) {
  const root = element('div', 'ir-map');
  root.dataset.lmSuppressShortcuts = 'true';
  root.addEventListener('keydown', event => event.stopPropagation());
  const status = element('p', 'ir-map-status', 'Loading…');
  status.setAttribute('role', 'status');
  const tools = element('div', 'ir-map-tools');
  const search = element('button', 'ir-map-main', 'Search like these');
  const clear = element('button', '', 'Clear selection');
  const hint = element('span', 'ir-map-hint', 'To select, press the lasso button on the map, or hold the mouse button down for a moment, and draw around some points.');
  const label = element('label', '', '');
  const group = element('select');
  const pictures = element('ul', 'ir-map-pictures');
  const alert = element('p', 'ir-map-alert');
  alert.setAttribute('role', 'alert');
  const answer = element('div', 'ir-map-answer');
  label.append('Select a group: ', group);
  tools.append(search, clear, label, hint);
  root.append(status, pictures, tools, alert, answer);
  el.append(root);

  let urls = [];
  const busy = on => { search.disabled = on || !pictures.children.length; answer.setAttribute('aria-busy', on); };
  const show = {
    selection({ n, text, names, asked, groups, by }, buffers) {
      urls.forEach(URL.revokeObjectURL);
      urls = buffers.map(b => URL.createObjectURL(new Blob([b], { type: 'image/jpeg' })));
      pictures.replaceChildren(...names.map((name, i) => {
        const item = element('li', i < asked ? 'ir-map-asked' : ''), img = element('img');
        Object.assign(img, { src: urls[i], alt: name, title: i < asked ? `${name} (the search begins with it)` : name });
        item.append(img);
        return item;
      }));
      status.textContent = text;
      search.hidden = clear.hidden = !n;
      hint.hidden = n > 0;
      label.hidden = !groups.length;
      if (group.options.length !== groups.length + 1) {
        label.firstChild.textContent = `Select by ${by}: `;
        group.replaceChildren(new Option('…', ''), ...groups.map(g => new Option(`${g.name} (${g.n})`, g.name)));
      }
      if (groups.find(g => g.name === group.value)?.n !== n) group.value = '';
      alert.textContent = '';
      busy(false);
    },
    answer({ html }) {
      answer.innerHTML = html; // made and escaped by Results._repr_html_
      alert.textContent = '';
      busy(false);
    },
    error({ text }) { alert.textContent = text; busy(false); },
  };
  const receive = (message, buffers) => show[message.type]?.(message, buffers);
  model.on('msg:custom', receive);

  search.onclick = () => { busy(true); alert.textContent = ''; answer.textContent = 'Searching…'; model.send({ type: 'search' }); };
  clear.onclick = () => { group.value = ''; answer.replaceChildren(); model.send({ type: 'clear' }); };
  group.onchange = () => { if (group.value) model.send({ type: 'group', name: group.value }); };

  const theme = () => model.send({ type: 'theme', dark: isDark(el) });
  const watcher = new MutationObserver(() => setTimeout(theme, 200));
  watcher.observe(document.body, { attributes: true, attributeFilter: ['data-jp-theme-light', 'class'] });
  setTimeout(theme); // once the panel is part of the page
  model.send({ type: 'hello' });

  return () => { model.off('msg:custom', receive); watcher.disconnect(); urls.forEach(URL.revokeObjectURL); };
}

export default { render };
