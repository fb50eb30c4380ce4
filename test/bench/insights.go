package bench

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Targets of knowing all objects of Flux.
const (
	// baseMemory is what the operator may take besides its objects, objectMemory what each of them may; in MiB.
	baseMemory, objectMemory = 25.0, 1.0 / 1024
	// restTarget is the processor time in seconds for each restUnit with manyObjects, busyTarget the percentage of a core while they change.
	restTarget, busyTarget = 0.1, 10.0
	// metricsTarget and reportTarget are the seconds within which changes are to be seen.
	metricsTarget, reportTarget = 2.0, 5.0
	// lessCPU and lessMemory are how many times as much the loop that lists everything takes at least.
	lessCPU, lessMemory = 10.0, 5.0
	// late is the share of changes that is seen within the target.
	late = 0.99
)

// benchInsights measures what the report and the metrics of many objects take, beside other ways to have them.
func (b *bench) benchInsights(ctx context.Context) (Part, error) {
	growing := []*insight{
		{objects: fewObjects, rest: restUnit / 3}, {objects: manyObjects, rest: restUnit}, {objects: mostObjects, rest: restUnit / 3},
	}
	if err := b.gainInsight(ctx, growing); err != nil {
		return Part{}, err
	}
	part := Part{
		Title: "Insights",
		Method: fmt.Sprintf("A cluster holds objects of eight kinds of Flux, with conditions, inventories and histories. A fresh operator is watched for a while when its report tells of all of them, scraped over HTTPS with a token as Prometheus does, "+
			"and watched for %s while %d objects a second begin to fail. A change is late by the time from before it was written until the report, or a scrape that was read to its end, showed it. "+
			"Beside it are a loop that lists all objects whole, as polling operators do every %s, with the processor time of one time (median of %d, after a first one); and kube-state-metrics with a configuration that makes the same series of single objects. "+
			"Each is a process of its own.", changeTime, changeRate, restUnit, polls-1),
	}
	for _, in := range growing {
		part.Figures = slices.Concat(part.Figures, in.own(), in.besides())
		part.Notes = append(part.Notes, in.note())
	}
	return part, nil
}

// isMany tells whether the targets and the existing operator's figures that hold for one number of objects apply.
func (in *insight) isMany() bool { return in.objects == manyObjects }

// own are the operator's figures.
func (in *insight) own() []Figure {
	with := func(what string) string { return fmt.Sprintf("%d objects: %s", in.objects, what) }
	return []Figure{
		atMost(with("memory at rest, anonymous"), mebibytes, sample{inMiB(in.idle.anon)}, baseMemory+objectMemory*float64(in.objects)),
		measured(with("most memory, scrapes and changes included, anonymous"), mebibytes, sample{inMiB(in.most.anon)}),
		measured(with("the same, RSS in all"), mebibytes, sample{inMiB(in.most.peak)}).besides(in.existing("143 MiB", "409 MiB")),
		in.atMostOfMany(with(fmt.Sprintf("CPU time at rest in %s", restUnit)), thousandths, in.restCPU, restTarget).besides(in.existing("0.33 s", "2.9 s")),
		in.atMostOfMany(with(fmt.Sprintf("share of a core with %d changes a second", changeRate)), percent, in.share, busyTarget),
		measured(with("late in metrics, median"), seconds, sample{in.inMetrics.median()}),
		atMost(with("late in metrics, 99 of 100 changes"), seconds, sample{in.inMetrics.quantile(late)}, metricsTarget),
		measured(with("late in the report, median"), seconds, sample{in.inReport.median()}).besides(in.existing("", "18 to 28 s")),
		atMost(with("late in the report, 99 of 100 changes"), seconds, sample{in.inReport.quantile(late)}, reportTarget),
		measured(with("a scrape"), thousandths, in.scrape.took),
		measured(with("a scrape, CPU time"), thousandths, in.scrape.cpu),
		measured(with("a scrape, text"), megabytes, sample{float64(in.scrape.last.plain) / 1e6}).besides(in.existing("", "3.6 MB")),
		measured(with("a scrape, on the wire"), megabytes, sample{float64(in.scrape.last.wire) / 1e6}),
		measured(with("from start until the report tells of all"), seconds, sample{in.known.Seconds()}),
	}
}

// besides are the figures of what does the same in other ways.
func (in *insight) besides() []Figure {
	with := func(what string) string { return fmt.Sprintf("%d objects: %s", in.objects, what) }
	cpu := sample(in.polling.CPU)
	figures := []Figure{
		measured(with("listing everything once, CPU time"), thousandths, cpu),
		measured(with("listing everything, most memory, anonymous"), mebibytes, sample{inMiB(in.polling.Anon)}),
		measured(with("the same, RSS in all"), mebibytes, sample{inMiB(in.polling.RSS)}),
	}
	if in.isMany() {
		figures = append(figures,
			atLeast(with("CPU time of listing against the operator's at rest"), ratio, sample{cpu.median() / in.restCPU}, lessCPU),
			atLeast(with("most memory of listing against the operator's, anonymous"), ratio, sample{float64(in.polling.Anon) / float64(in.most.anon)}, lessMemory))
	}
	return append(figures,
		measured(with("kube-state-metrics, memory at rest, anonymous"), mebibytes, sample{inMiB(in.idleBeside.anon)}),
		measured(with("kube-state-metrics, most memory until then (RSS in all)"), mebibytes, sample{inMiB(in.idleBeside.peak)}),
		measured(with(fmt.Sprintf("kube-state-metrics, CPU time at rest in %s", restUnit)), thousandths, sample{in.restCPUBeside}),
		measured(with("kube-state-metrics, a scrape"), thousandths, in.beside.took),
		measured(with("kube-state-metrics, a scrape, text"), megabytes, sample{float64(in.beside.last.plain) / 1e6}),
	)
}

// atMostOfMany has a target with manyObjects alone.
func (in *insight) atMostOfMany(name string, unit amount, value, limit float64) Figure {
	if in.isMany() {
		return atMost(name, unit, sample{value}, limit)
	}
	return measured(name, unit, sample{value})
}

// existing picks the figure of the existing operator, which there is for two numbers of objects.
func (in *insight) existing(few, many string) string {
	switch in.objects {
	case fewObjects:
		return few
	case manyObjects:
		return many
	default:
		return ""
	}
}

// note tells of the circumstances.
func (in *insight) note() string {
	return fmt.Sprintf("%d objects of %d bytes on average as they are stored, the further ones stored in %s; processor time at rest was taken over %s; %.1f objects a second began to fail.",
		in.objects, in.bytes, in.storing.Round(time.Second/10), in.rest, in.rate)
}
