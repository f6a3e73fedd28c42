#!/usr/bin/env bash
# Fetch KaTeX and the widgets' HTML manager from the npm registry into this folder: docs/vendor/renew.sh [KATEX VERSION] [HTML-MANAGER VERSION]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd); tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
npm pack --silent "katex@${1:-0.19.1}" "@jupyter-widgets/html-manager@${2:-1.0.15}"
for file in *.tgz; do mkdir "${file%%-[0-9]*}" && tar xzf "$file" -C "${file%%-[0-9]*}" --strip-components=1; done
rm -rf "$here/katex" "$here/widgets"; mkdir -p "$here/katex/fonts" "$here/widgets"
cp katex/LICENSE katex/dist/katex.min.css katex/dist/katex.min.js katex/dist/contrib/auto-render.min.js "$here/katex"
cp katex/dist/fonts/*.woff2 "$here/katex/fonts"
cp jupyter-widgets-html-manager/dist/embed.js jupyter-widgets-html-manager/dist/embed.js.LICENSE.txt "$here/widgets"
# Browsers of today need one format of each font.
sed -Ei 's/,url\([^)]*\.(woff|ttf)\) format\("[a-z]+"\)//g' "$here/katex/katex.min.css"
sed -i '/^\/\/# sourceMappingURL=/d' "$here/widgets/embed.js"
