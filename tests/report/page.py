"""A report as a reader finds it: tables by caption, text, links, ids."""

from html.parser import HTMLParser

VOID = {"meta", "br", "path", "use", "rect", "image"}


class Page(HTMLParser):
    """What stands on a page.

    Attributes
    ----------
    tables
        (caption, headings, rows) in order; a row is a list of numbers, where a cell says its value, and texts.
    links
        Values of src, href and the like.
    ids, labels
        All ids; all that elements name by aria-labelledby and by fragments.
    open
        Elements that were not closed where they should be.
    text
        All text outside scripts and styles.
    """

    def __init__(self, html):
        super().__init__()
        self.tables, self.links, self.ids, self.labels, self.tags, self.wrong = [], [], [], [], [], []
        self.text, self._stack, self._cell = "", [], None
        self.feed(html)
        self.close()
        assert not self._stack
        assert not self.wrong

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tags.append((tag, found))
        self._begin(tag, found)
        if tag not in VOID:
            self._stack.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self._begin(tag, dict(attributes))

    def _begin(self, tag, found):
        self.links += [found[name] for name in ("src", "href", "xlink:href", "action", "poster") if name in found]
        if "id" in found:
            self.ids.append(found["id"])
        self.labels += found.get("aria-labelledby", "").split()
        if tag == "table":
            self.tables.append(["", [], []])
        elif tag == "tr" and "tbody" in self._stack:
            self.tables[-1][2].append([])
        elif tag in ("td", "th", "caption"):
            self._cell = [tag, found, ""]

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        if not self._stack or self._stack.pop() != tag:
            self.wrong.append(tag)
        if tag in ("td", "th", "caption"):
            _, found, text = self._cell
            self._cell = None
            if tag == "caption":
                self.tables[-1][0] = text
            elif "tbody" in self._stack:
                self.tables[-1][2][-1].append(float(found["data-v"]) if found.get("data-v") else text)
            else:
                self.tables[-1][1].append(text)

    def handle_data(self, data):
        if self._stack and self._stack[-1] in ("script", "style"):
            return
        self.text += data
        if self._cell is not None:
            self._cell[2] += data

    def table(self, caption, which=0):
        """(headings, rows) of a table whose caption begins so."""
        _, heads, rows = [table for table in self.tables if table[0].startswith(caption)][which]
        return heads, rows

    def column(self, caption, heading, which=0):
        """First cell of each row → the cell under a heading."""
        heads, rows = self.table(caption, which)
        return {row[0]: row[heads.index(heading)] for row in rows}
