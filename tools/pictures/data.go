package main

import (
	"math"
	"regexp"
	"strings"
)

// dashboard is one of Grafana's with its data, as test/pictures writes it.
type dashboard struct {
	Title  string  `json:"title"`
	Digest string  `json:"digest"`
	Panels []panel `json:"panels"`
	From   float64 `json:"from"`
	To     float64 `json:"to"`
	Step   float64 `json:"step"`
	// Series are the answers to the queries: of each panel, those of each target.
	Series [][][]series `json:"series"`
}

// panel is a picture in a dashboard.
type panel struct {
	Title   string `json:"title"`
	Type    string `json:"type"`
	GridPos struct {
		X int `json:"x"`
		Y int `json:"y"`
		W int `json:"w"`
		H int `json:"h"`
	} `json:"gridPos"`
	Targets []struct {
		Legend string `json:"legendFormat"`
	} `json:"targets"`
	FieldConfig struct {
		Defaults field `json:"defaults"`
	} `json:"fieldConfig"`
	Transformations []struct {
		Options struct {
			Exclude map[string]bool `json:"excludeByName"`
		} `json:"options"`
	} `json:"transformations"`
}

// field says how values are shown.
type field struct {
	Unit   string `json:"unit"`
	Custom struct {
		Fill     int `json:"fillOpacity"`
		Stacking struct {
			Mode string `json:"mode"`
		} `json:"stacking"`
	} `json:"custom"`
	Thresholds struct {
		Steps []struct {
			Color string   `json:"color"`
			Value *float64 `json:"value"`
		} `json:"steps"`
	} `json:"thresholds"`
	Mappings []struct {
		Options map[string]struct {
			Text string `json:"text"`
		} `json:"options"`
	} `json:"mappings"`
}

// series is what a query says of one set of labels.
type series struct {
	Labels  map[string]string `json:"labels"`
	Samples []struct {
		Time  float64 `json:"time"`
		Value float64 `json:"value"`
	} `json:"samples"`
}

// last is the newest value, zero where there is none.
func (s series) last() float64 {
	if len(s.Samples) == 0 {
		return 0
	}
	return s.Samples[len(s.Samples)-1].Value
}

// named is a series under the name that the legend gives it.
type named struct {
	series

	name string
}

var legendLabel = regexp.MustCompile(`\{\{\s*([a-z_]+)\s*\}\}`)

// legend names the series of all targets of a panel.
func (p *panel) legend(answers [][]series) []named {
	var all []named
	for i, answer := range answers {
		for _, one := range answer {
			name := legendLabel.ReplaceAllStringFunc(p.Targets[i].Legend, func(label string) string {
				return one.Labels[strings.Trim(label, "{} ")]
			})
			if name == "" {
				name = p.Title
			}
			all = append(all, named{one, name})
		}
	}
	return all
}

// evenly are the values of a series at all points in time, with a replacement where there is none.
func (d *dashboard) evenly(s series, none float64) []float64 {
	values := make([]float64, int((d.To-d.From)/d.Step)+1)
	for i := range values {
		values[i] = none
	}
	for _, sample := range s.Samples {
		if i := int(math.Round((sample.Time - d.From) / d.Step)); i >= 0 && i < len(values) {
			values[i] = sample.Value
		}
	}
	return values
}
