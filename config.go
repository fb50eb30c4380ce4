package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/pflag"
	"go.uber.org/zap/zapcore"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/controllers"
	"github.com/flux-autopilot/flux-operator/pkg/report"
)

// config is all that can be set on the process. Every flag is also an environment variable: upper case, dashes as underscores.
// The environment wins, because a Subscription of the Operator Lifecycle Manager can set variables but no flags.
type config struct {
	namespace            string
	storagePath          string
	artifactCachePath    string
	metricsAddr          string
	metricsInsecure      bool
	tls                  tlsConfig
	healthAddr           string
	metricsLabels        []string
	metricsMaxSeries     int
	reportingInterval    time.Duration
	eventsAddr           string
	pprofAddr            string
	propagateProxy       bool
	trustedCA            string
	console              bool
	overrideManagers     []string
	concurrent           int
	minRetryDelay        time.Duration
	maxRetryDelay        time.Duration
	jitterPercentage     int
	logLevel             string
	logEncoding          string
	leaderElection       bool
	leaderReleaseOnEnd   bool
	leaderLeaseDuration  time.Duration
	leaderRenewDeadline  time.Duration
	leaderRetryPeriod    time.Duration
	gracefulShutdownTime time.Duration
	relatedImages        controllers.RelatedImages
	proxy                controllers.Proxy
	apiServer            string // its address within the cluster, empty elsewhere
}

// bind registers the flags with their defaults.
func (c *config) bind(fs *pflag.FlagSet) {
	fs.StringVar(&c.namespace, "runtime-namespace", v1.DefaultNamespace, "namespace the operator runs in and installs Flux into")
	fs.StringVar(&c.storagePath, "storage-path", "/data", "folder with the built-in distribution (flux/ and flux-images/)")
	fs.StringVar(&c.artifactCachePath, "artifact-cache-path", "/tmp/flux-operator", "folder for distribution artifacts that were pulled, 512 MiB at most; made when needed")
	fs.StringVar(&c.metricsAddr, "metrics-addr", ":8080", "address of the metrics endpoint: HTTPS with authentication and authorization; 0 switches it off")
	fs.BoolVar(&c.metricsInsecure, "metrics-insecure", false, "serve metrics over plain HTTP to anybody")
	c.tls.bind(fs)
	fs.StringSliceVar(&c.metricsLabels, "metrics-labels", nil, "labels wanted on the metrics of single Flux objects, besides kind, name and exported_namespace; all by default")
	fs.IntVar(&c.metricsMaxSeries, "metrics-max-series", report.DefaultMaxSeries, "how many series of single Flux objects a scrape holds at most; those that are ready are left out first, and counted")
	fs.DurationVar(&c.reportingInterval, "reporting-interval", controllers.DefaultReportingInterval, "how often the FluxReport looks at what cannot be watched: the version of the API server, nodes and entitlement")
	fs.StringVar(&c.eventsAddr, "events-addr", controllers.AutomaticEventsAddress, "URL that events are forwarded to; auto is the notification-controller that the instance installs, none forwards nothing")
	fs.StringVar(&c.healthAddr, "health-addr", ":8081", "address of the /healthz and /readyz probes")
	fs.StringVar(&c.pprofAddr, "pprof-addr", "", "address of Go's profiling endpoint, for example localhost:6060; off when empty")
	fs.BoolVar(&c.propagateProxy, "propagate-proxy", true, "hand HTTP_PROXY, HTTPS_PROXY and NO_PROXY of the operator on to the controllers of Flux")
	fs.StringVar(&c.trustedCA, "trusted-ca", controllers.AutomaticTrustedCA, "ConfigMap with authorities that the controllers of Flux trust, under the key ca-bundle.crt; auto is what OpenShift trusts, none adds none")
	fs.BoolVar(&c.console, "console", true, "show samples, a quick start and a link in the web console of OpenShift")
	fs.StringSliceVar(&c.overrideManagers, "override-manager", nil, "further field manager to take fields over from; repeatable")
	fs.IntVar(&c.concurrent, "concurrent", 10, "objects applied at the same time, 1 to 50")
	fs.DurationVar(&c.minRetryDelay, "min-retry-delay", 750*time.Millisecond, "delay after a first failure")
	fs.DurationVar(&c.maxRetryDelay, "max-retry-delay", 15*time.Minute, "longest delay between failures")
	fs.IntVar(&c.jitterPercentage, "interval-jitter-percentage", 5, "how much intervals are spread, in percent, 0 to 100")
	fs.StringVar(&c.logLevel, "log-level", "info", "debug, info or error")
	fs.StringVar(&c.logEncoding, "log-encoding", "json", "json or console")
	fs.BoolVar(&c.leaderElection, "enable-leader-election", true, "let one replica act at a time")
	fs.BoolVar(&c.leaderReleaseOnEnd, "leader-election-release-on-cancel", true, "hand leadership over at once on shutdown")
	fs.DurationVar(&c.leaderLeaseDuration, "leader-election-lease-duration", 35*time.Second, "how long others wait for a leader that is gone")
	fs.DurationVar(&c.leaderRenewDeadline, "leader-election-renew-deadline", 30*time.Second, "how long a leader tries to renew before it gives up")
	fs.DurationVar(&c.leaderRetryPeriod, "leader-election-retry-period", 5*time.Second, "time between two tries")
	fs.DurationVar(&c.gracefulShutdownTime, "graceful-shutdown-timeout", 8*time.Second, "how long a pass may take to end on shutdown")
}

// errPrinted ends a run that was only asked for help or the version.
var errPrinted = errors.New("printed what was asked for")

// configure reads flags and environment. It returns errPrinted when nothing is left to do.
func configure(args []string, lookup func(string) (string, bool)) (*config, error) {
	c := &config{}
	fs := pflag.NewFlagSet("flux-operator", pflag.ContinueOnError)
	c.bind(fs)
	version := fs.Bool("version", false, "print the version and exit")
	fs.Usage = func() {
		fmt.Fprintf(os.Stderr, "flux-operator %s keeps Flux as a FluxInstance says.\n\nEvery flag is also an environment variable, which wins: --log-level is LOG_LEVEL.\n\nFlags:\n%s", VERSION, fs.FlagUsages())
	}
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			return nil, errPrinted
		}
		return nil, fmt.Errorf("reading flags: %w", err)
	}
	if *version {
		_, err := fmt.Fprintln(os.Stdout, VERSION)
		return nil, errors.Join(errPrinted, err)
	}
	if fs.NArg() > 0 {
		return nil, fmt.Errorf("argument %q: flux-operator takes flags only", fs.Arg(0))
	}
	if err := fromEnvironment(fs, lookup); err != nil {
		return nil, err
	}
	c.relatedImages = controllers.RelatedImagesFromEnvironment(lookup)
	c.proxy = controllers.ProxyFromEnvironment(lookup)
	c.apiServer, _ = lookup("KUBERNETES_SERVICE_HOST")
	return c, c.validate()
}

// fromEnvironment sets every flag whose variable is set and not empty. OVERRIDE_MANAGERS is accepted beside OVERRIDE_MANAGER.
func fromEnvironment(fs *pflag.FlagSet, lookup func(string) (string, bool)) error {
	var errs []error
	fs.VisitAll(func(flag *pflag.Flag) {
		names := []string{strings.ToUpper(strings.ReplaceAll(flag.Name, "-", "_"))}
		if flag.Name == "override-manager" {
			names = append(names, "OVERRIDE_MANAGERS")
		}
		for _, name := range names {
			value, ok := lookup(name)
			if !ok || value == "" || flag.Name == "version" || flag.Name == "help" {
				continue
			}
			if err := flag.Value.Set(value); err != nil {
				errs = append(errs, fmt.Errorf("environment variable %s: %w", name, err))
			}
		}
	})
	return errors.Join(errs...)
}

func (c *config) validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(c.namespace != "", "--runtime-namespace: must not be empty")
	check(len(validation.IsDNS1123Subdomain(c.trustedCA)) == 0, "--trusted-ca: %q is neither auto nor none nor the name of a ConfigMap", c.trustedCA)
	check(c.artifactCachePath != "", "--artifact-cache-path: must not be empty")
	check(c.concurrent >= 1 && c.concurrent <= 50, "--concurrent: %d is not within 1 to 50", c.concurrent)
	for _, name := range c.metricsLabels {
		known := append([]string{"kind", "name", "exported_namespace"}, report.LabelNames()...)
		check(slices.Contains(known, name), "--metrics-labels: %q is no label of these metrics; choose of %s", name, strings.Join(report.LabelNames(), ", "))
	}
	check(c.metricsMaxSeries >= 1, "--metrics-max-series: %d is not above 0", c.metricsMaxSeries)
	check(c.reportingInterval >= 10*time.Second, "--reporting-interval: %s is below 10s", c.reportingInterval)
	check(c.jitterPercentage >= 0 && c.jitterPercentage <= 100, "--interval-jitter-percentage: %d is not within 0 to 100", c.jitterPercentage)
	check(c.minRetryDelay > 0 && c.minRetryDelay <= c.maxRetryDelay, "--min-retry-delay: %s is not above 0 and at most --max-retry-delay %s", c.minRetryDelay, c.maxRetryDelay)
	check(c.logEncoding == "json" || c.logEncoding == "console", "--log-encoding: %q is neither json nor console", c.logEncoding)
	check(c.leaderRenewDeadline < c.leaderLeaseDuration, "--leader-election-renew-deadline: %s is not below --leader-election-lease-duration %s", c.leaderRenewDeadline, c.leaderLeaseDuration)
	check(c.leaderRetryPeriod < c.leaderRenewDeadline, "--leader-election-retry-period: %s is not below --leader-election-renew-deadline %s", c.leaderRetryPeriod, c.leaderRenewDeadline)
	if err := controllers.CheckEventsAddress(c.eventsAddr); err != nil {
		errs = append(errs, fmt.Errorf("--events-addr: %w", err))
	}
	_, err := c.level()
	return errors.Join(append(errs, c.tls.validate(), err)...)
}

// backoff is the delay between failures of all controllers.
func (c *config) backoff() controllers.Backoff {
	return controllers.Backoff{Min: c.minRetryDelay, Max: c.maxRetryDelay}
}

func (c *config) level() (zapcore.Level, error) {
	switch c.logLevel {
	case "debug":
		return zapcore.DebugLevel, nil
	case "info":
		return zapcore.InfoLevel, nil
	case "error":
		return zapcore.ErrorLevel, nil
	default:
		return 0, fmt.Errorf("--log-level: %q is none of debug, info, error", c.logLevel)
	}
}

// logger writes structured lines to w.
func (c *config) logger(w io.Writer) (logr.Logger, error) {
	level, err := c.level()
	if err != nil {
		return logr.Logger{}, err
	}
	encoder := zap.JSONEncoder(func(e *zapcore.EncoderConfig) { e.EncodeTime = zapcore.ISO8601TimeEncoder })
	if c.logEncoding == "console" {
		encoder = zap.ConsoleEncoder()
	}
	return zap.New(zap.WriteTo(w), zap.Level(level), encoder, zap.StacktraceLevel(zapcore.PanicLevel)), nil
}
