package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/go-analyze/charts"
)

// Sizes in pixels.
const (
	width     = 1200
	columns   = 24
	rowHeight = 36 // of the grid, with the gap
	gap       = 8
	header    = 48
	titleBar  = 32
	inset     = 10
)

// Sizes of text.
const (
	small  = 8.5
	normal = 9.5
	large  = 13.0
)

var (
	background = charts.ParseColor("#111217")
	surface    = charts.ParseColor("#181b1f")
	border     = charts.ParseColor("#2a2d33")
	strong     = charts.ParseColor("#e3e4ec")
	text       = charts.ParseColor("#ccccdc")
	faint      = charts.ParseColor("#8e8ea0")
	link       = charts.ParseColor("#6e9fff")
)

// shades are the colors by the names that Grafana gives them.
var shades = map[string]charts.Color{
	"green": charts.ParseColor("#73bf69"), "yellow": charts.ParseColor("#f2cc0c"), "red": charts.ParseColor("#f2495c"),
}

// palette are the colors of lines.
var palette = []charts.Color{
	charts.ParseColor("#73bf69"), charts.ParseColor("#f2cc0c"), charts.ParseColor("#5794f2"), charts.ParseColor("#ff9830"),
	charts.ParseColor("#f2495c"), charts.ParseColor("#b877d9"), charts.ParseColor("#8ab8ff"), charts.ParseColor("#37872d"),
	charts.ParseColor("#fade2a"), charts.ParseColor("#3274d9"), charts.ParseColor("#ffa6b0"), charts.ParseColor("#705da0"),
}

// color is that of the line with a number.
func color(i int) charts.Color { return palette[i%len(palette)] }

// draw draws the whole dashboard.
func (d *dashboard) draw() ([]byte, error) {
	rows := 0
	for _, p := range d.Panels {
		rows = max(rows, p.GridPos.Y+p.GridPos.H)
	}
	theme := charts.GetTheme(charts.ThemeGrafana).WithBackgroundColor(charts.ColorTransparent).WithSeriesColors(palette).
		WithTextColor(faint).WithXAxisTextColor(faint).WithYAxisTextColor(faint).WithAxisSplitLineColor(border)
	canvas := charts.NewPainter(charts.PainterOptions{OutputFormat: charts.ChartOutputSVG, Width: width, Height: header + rows*rowHeight + gap},
		charts.PainterThemeOption(theme))
	canvas.FilledRect(0, 0, width, canvas.Height(), background, charts.ColorTransparent, 0)
	write(canvas, d.Title, 2*gap, 31, style(strong, large))
	span := clock(d.From) + " to " + clock(d.To) + " UTC"
	write(canvas, span, width-2*gap-measure(canvas, span, normal)*11/10, 30, style(faint, normal))
	for i := range d.Panels {
		p := &d.Panels[i]
		at := p.GridPos
		left, top := gap/2+at.X*(width-gap)/columns, header+at.Y*rowHeight
		right, bottom := gap/2+(at.X+at.W)*(width-gap)/columns-gap, top+at.H*rowHeight-gap
		left += gap / 2
		right += gap / 2
		canvas.FilledRect(left, top, right, bottom, surface, border, 1)
		write(canvas, p.Title, left+inset, top+21, style(text, normal))
		inside := canvas.Child(charts.PainterBoxOption(charts.NewBox(left+inset, top+titleBar, right-inset, bottom-inset)))
		if err := d.fill(inside, p, p.legend(d.Series[i])); err != nil {
			return nil, fmt.Errorf("panel %q: %w", p.Title, err)
		}
	}
	return canvas.Bytes()
}

// fill draws what is in a panel.
func (d *dashboard) fill(c *charts.Painter, p *panel, all []named) error {
	if len(all) == 0 {
		centered(c, "No data", c.Width()/2, c.Height()/2, style(faint, normal))
		return nil
	}
	switch p.Type {
	case "stat":
		d.stat(c, p, all)
	case "table":
		table(c, p, all)
	case "timeseries":
		return d.lines(c, p, all)
	case "state-timeline":
		d.timeline(c, p, all)
	default:
		return fmt.Errorf("nobody knows how to draw %q", p.Type)
	}
	return nil
}

// stat draws the last value of each series, as large as there is room.
func (d *dashboard) stat(c *charts.Painter, p *panel, all []named) {
	share := c.Height() / len(all)
	for i, one := range all {
		value := p.FieldConfig.Defaults.show(one.last(), d.To)
		size, middle := 34.0, i*share+share/2-2
		for size > normal && (measure(c, value, size) > c.Width()*8/10 || size > float64(share)*0.6) {
			size--
		}
		shade := shades[p.FieldConfig.Defaults.shade(one.last())]
		if len(all) > 1 {
			centered(c, one.name, c.Width()/2, i*share+10, style(faint, small))
			middle += 8
		}
		centered(c, value, c.Width()/2, middle, style(shade, size))
	}
}

// table draws a row for each series and a column for each label, and one for the value where it is not left out.
func table(c *charts.Painter, p *panel, all []named) {
	const line = 24
	excluded := map[string]bool{}
	for _, transformation := range p.Transformations {
		maps.Copy(excluded, transformation.Options.Exclude)
	}
	labels := map[string]string{}
	for _, one := range all {
		maps.Copy(labels, one.Labels)
	}
	names := slices.Sorted(maps.Keys(labels))
	cells := [][]string{names}
	if !excluded["Value"] {
		cells[0] = append(slices.Clone(names), "Value")
	}
	for _, one := range all {
		var row []string
		for _, name := range names {
			row = append(row, one.Labels[name])
		}
		if !excluded["Value"] {
			row = append(row, p.FieldConfig.Defaults.show(one.last(), 0))
		}
		cells = append(cells, row)
	}
	slices.SortFunc(cells[1:], slices.Compare)
	if fit := c.Height() / line; len(cells) > fit {
		cells = append(cells[:fit-1:fit-1], []string{"and " + plural(len(cells)-fit+1, "more row")})
	}
	lefts := tableColumns(c, cells)
	for y, row := range cells {
		if y > 0 {
			c.LineStroke([]charts.Point{{X: 0, Y: y * line}, {X: c.Width(), Y: y * line}}, border, 1)
		}
		for x, cell := range row {
			shade := text
			if y == 0 {
				shade = link
			}
			write(c, shortened(c, cell, lefts[x+1]-lefts[x]-gap, normal), lefts[x], y*line+17, style(shade, normal))
		}
	}
}

// tableColumns are where columns begin, and where the last one ends. What is too wide together takes from the widest.
func tableColumns(c *charts.Painter, cells [][]string) []int {
	widths := make([]int, len(cells[0]))
	total := 0
	for x := range widths {
		for _, row := range cells {
			if x < len(row) {
				widths[x] = max(widths[x], measure(c, row[x], normal)*11/10+2*gap)
			}
		}
		total += widths[x]
	}
	for ; total > c.Width(); total-- {
		widths[slices.Index(widths, slices.Max(widths))]--
	}
	spare := (c.Width() - total) / len(widths)
	lefts := []int{0}
	for x, w := range widths {
		lefts = append(lefts, lefts[x]+w+spare)
	}
	return lefts
}

func style(shade charts.Color, size float64) charts.FontStyle {
	return charts.FontStyle{FontSize: size, FontColor: shade}
}

func write(c *charts.Painter, words string, x, y int, font charts.FontStyle) {
	c.Text(words, x, y, 0, font)
}

func centered(c *charts.Painter, words string, x, y int, font charts.FontStyle) {
	box := c.MeasureText(words, 0, font)
	write(c, words, x-box.Width()/2, y+box.Height()/2, font)
}

func measure(c *charts.Painter, words string, size float64) int {
	return c.MeasureText(words, 0, style(text, size)).Width()
}

// shortened cuts words that have no room.
func shortened(c *charts.Painter, words string, room int, size float64) string {
	if measure(c, words, size) <= room {
		return words
	}
	for len(words) > 1 && measure(c, words+"…", size) > room {
		words = strings.ToValidUTF8(words[:len(words)-1], "")
	}
	return words + "…"
}
