package bench

import (
	"math"
	"slices"
)

// sample is a set of measurements of the same thing.
type sample []float64

func (s sample) median() float64 { return s.quantile(0.5) }

func (s sample) min() float64 { return slices.Min(s) }

func (s sample) max() float64 { return slices.Max(s) }

// quantile interpolates between the two nearest measurements; an empty sample has none.
func (s sample) quantile(q float64) float64 {
	if len(s) == 0 {
		return math.NaN()
	}
	sorted := slices.Clone(s)
	slices.Sort(sorted)
	position := q * float64(len(sorted)-1)
	below := int(math.Floor(position))
	above := int(math.Ceil(position))
	return sorted[below] + (sorted[above]-sorted[below])*(position-float64(below))
}

// over divides pair by pair: what was measured one right after the other is compared with each other.
func (s sample) over(other sample) sample {
	ratios := make(sample, 0, len(s))
	for i := range s {
		ratios = append(ratios, s[i]/other[i])
	}
	return ratios
}
