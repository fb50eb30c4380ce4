package main

import (
	"slices"

	"github.com/go-analyze/charts"
)

const (
	// legendRow is the height of a row of the legend, and legendRows how many there are at most.
	legendRow, legendRows = 18, 4
	// timeRow is the height of the axis of time, and timeRoom the room between two times.
	timeRow, timeRoom = 18, 110
)

// lines draws series over time, with a legend below.
func (d *dashboard) lines(c *charts.Painter, p *panel, all []named) error {
	used := legend(c, all)
	area := c.Child(charts.PainterPaddingOption(charts.NewBox(0, 0, 0, used)))
	custom := p.FieldConfig.Defaults.Custom
	stacked := custom.Stacking.Mode == "normal"
	none := charts.GetNullValue()
	if stacked {
		none = 0
	}
	var values [][]float64
	sums := map[float64]float64{}
	highest := 0.0
	for _, one := range all {
		values = append(values, d.evenly(one.series, none))
		for _, sample := range one.Samples {
			sums[sample.Time] += sample.Value
			highest = max(highest, sample.Value)
			if stacked {
				highest = max(highest, sums[sample.Time])
			}
		}
	}
	option := charts.NewLineChartOptionWithData(values)
	option.Theme = charts.GetTheme(charts.ThemeGrafana).WithBackgroundColor(charts.ColorTransparent).WithSeriesColors(palette).
		WithTextColor(faint).WithAxisSplitLineColor(border)
	option.Padding = charts.NewBox(0, 4, 8, 0)
	option.Legend.Show = new(false)
	option.Symbol.Shape = charts.SymbolNone
	option.LineStrokeWidth = 1.5
	option.StackSeries = new(stacked)
	option.FillArea = new(custom.Fill > 0)
	option.FillOpacity = uint8(custom.Fill * 255 / 100)
	option.XAxis.BoundaryGap = new(false)
	option.XAxis.LabelFontStyle = style(faint, small)
	option.XAxis.LabelCount = max(2, c.Width()/timeRoom)
	for i := range values[0] {
		option.XAxis.Labels[i] = clock(d.From + float64(i)*d.Step)
	}
	top, count := p.FieldConfig.Defaults.ticks(highest, max(2, area.Height()/45))
	option.YAxis[0].Min, option.YAxis[0].Max, option.YAxis[0].LabelCount = new(0.0), new(top), count
	option.YAxis[0].RangeValuePaddingScale = new(0.0)
	option.YAxis[0].LabelFontStyle = style(faint, small)
	option.YAxis[0].ValueFormatter = func(value float64) string { return p.FieldConfig.Defaults.show(value, d.To) }
	return area.LineChart(option)
}

// legend draws the names of series with their colors at the bottom, and returns how much room that takes.
func legend(c *charts.Painter, all []named) (height int) {
	const dash, between = 14, 12
	type place struct{ x, row int }
	var places []place
	x, row := 0, 0
	for _, one := range all {
		w := dash + 6 + measure(c, one.name, small)*11/10 + between
		if x > 0 && x+w > c.Width() {
			x, row = 0, row+1
		}
		if row == legendRows {
			row--
			break
		}
		places = append(places, place{x, row})
		x += w
	}
	height = (row + 1) * legendRow
	for i, at := range places {
		y := c.Height() - height + at.row*legendRow + legendRow/2 + 3
		c.LineStroke([]charts.Point{{X: at.x, Y: y}, {X: at.x + dash, Y: y}}, color(i), 3)
		write(c, all[i].name, at.x+dash+6, y+4, style(text, small))
	}
	return height + 4
}

// timeline draws a bar for each series, in the colors of its values over time.
func (d *dashboard) timeline(c *charts.Painter, p *panel, all []named) {
	left := 0
	for _, one := range all {
		left = max(left, measure(c, one.name, small)*11/10)
	}
	left = min(left, c.Width()*2/5) + gap
	bar := min(56, (c.Height()-timeRow)/len(all))
	for y, one := range all {
		top := y * bar
		write(c, shortened(c, one.name, left-gap, small), 0, top+bar/2+4, style(text, small))
		values := d.evenly(one.series, charts.GetNullValue())
		at := func(i int) int { return left + i*(c.Width()-left)/len(values) }
		for from := 0; from < len(values); {
			to := from
			for to < len(values) && values[to] == values[from] {
				to++
			}
			if values[from] != charts.GetNullValue() {
				state(c, &p.FieldConfig.Defaults, values[from], charts.NewBox(at(from), top+1, at(to), top+bar-2))
			}
			from = to
		}
	}
	d.times(c, left, len(all)*bar)
}

// state draws a state for the time that it lasted, and what it is called where there is room.
func state(c *charts.Painter, f *field, value float64, box charts.Box) {
	shade := shades[f.shade(value)]
	c.FilledRect(box.Left, box.Top, box.Right, box.Bottom, shade.WithAlpha(190), charts.ColorTransparent, 0)
	if word := f.show(value, 0); len(f.Mappings) > 0 && box.Height() > 14 && measure(c, word, small)*12/10 < box.Width()-gap {
		centered(c, word, (box.Left+box.Right)/2, (box.Top+box.Bottom)/2, style(background, small))
	}
}

// times writes the axis of time.
func (d *dashboard) times(c *charts.Painter, left, top int) {
	count := max(1, (c.Width()-left)/timeRoom)
	for i := range count + 1 {
		label := clock(d.From + (d.To-d.From)*float64(i)/float64(count))
		w := measure(c, label, small)
		x := left + (c.Width()-left)*i/count - w/2
		write(c, label, slices.Min([]int{max(x, left), c.Width() - w}), top+14, style(faint, small))
	}
}
