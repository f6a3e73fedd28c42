"""Tables and charts of the benchmarks."""
from pathlib import Path


def markdown(header:list, # column names
             rows:list, # of cells
             text:tuple=(0,), # columns that hold words; the others hold numbers, which are aligned on the right
            ) -> str:
    "A Markdown table whose columns are aligned in plain text, too"
    cells = [list(map(str, r)) for r in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells)]
    line = lambda row: '| ' + ' | '.join(c.ljust(w) if i in text else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths))) + ' |'
    rule = '|' + '|'.join('-'*(w+2) if i in text else '-'*(w+1)+':' for i, w in enumerate(widths)) + '|'
    return '\n'.join([line(cells[0]), rule, *map(line, cells[1:])])

def new_figure(panels:int, # side by side
               height:float=3., # inches
              ): # figure, list of axes
    "An empty chart without the upper and right frame"
    from matplotlib import rcParams
    from matplotlib.figure import Figure
    rcParams['svg.hashsalt'] = 'image_recommender' # the same drawing gives the same file
    figure = Figure(figsize=(4.2*panels, height), layout='constrained')
    axes = list(figure.subplots(1, panels, squeeze=False)[0])
    for ax in axes: ax.spines[['top', 'right']].set_visible(False)
    return figure, axes

def bars(ax, names:list, values:list, title:str, number:str='{:,.1f}', highlight:int=0):
    "Horizontal bars with their numbers, the first at the top"
    colors = ['#3b6fb6' if i == highlight else '#b9c4d0' for i in range(len(names))]
    ax.bar_label(ax.barh(names, values, color=colors), [number.format(v) for v in values], padding=3, fontsize=8)
    ax.invert_yaxis()
    ax.set_title(title, fontsize=10, loc='left')
    ax.set_xticks([])
    ax.spines['bottom'].set_visible(False)
    ax.margins(x=.2)
    ax.tick_params(length=0, labelsize=8)

def save_figure(figure, path:Path):
    "As SVG or PNG, by the suffix"
    figure.savefig(path, dpi=150, **({'metadata': {'Date': None}} if Path(path).suffix == '.svg' else {}))
    print(f'\n{path}')
